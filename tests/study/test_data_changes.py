"""A plan names what of the data changed since trials were sealed that count no more."""

import dataclasses
import json

import numpy as np
import pytest

from study.design.study_design import Design
from study.design.work import missing_of
from study.plan import data_changes
from study.plan.outdated import outdated
from study.run.runner import Runner
from study.store.roles import BLIND

FEW = ("replicates=1", "factors.train_size=[40]", "factors.epochs=[1]", "factors.defense=[none]")


@pytest.fixture
def sealed(make_design, store):
    """A design, of which one control is sealed, with what is kept of its data."""
    design = make_design(*FEW)
    data_changes.keep(store, design.pool)
    (blind,) = (trial for trial in design.every if trial.role == BLIND)
    list(Runner(design, store).run(missing_of([blind], store)))
    return design, store


def changed(pool, images=None, labels=None, groups=None):
    parts = {"images": images, "labels": labels, "groups": groups}
    return dataclasses.replace(pool, **{name: value for name, value in parts.items() if value is not None})


def with_one_more(pool):
    one = np.full((1, *pool.image_shape), 7, np.uint8)
    return changed(pool, np.concatenate([pool.images, one]), np.append(pool.labels, 0), np.append(pool.groups, 10**6))


def without(pool, count):
    return changed(pool, pool.images[count:], pool.labels[count:], pool.groups[count:])


def reordered(pool):
    order = np.roll(np.arange(len(pool)), 1)
    return changed(pool, pool.images[order], pool.labels[order], pool.groups[order])


def repainted(pool, count):
    images = pool.images.copy()
    images[:count] = 255 - images[:count]
    return changed(pool, images)


def exchanged(pool):
    images = np.roll(pool.images, 1, axis=0)
    images[5] = 7
    return changed(pool, images)


CHANGES = {
    "one more": (with_one_more, "one record was added"),
    "one less": (lambda pool: without(pool, 1), "one record was removed"),
    "fewer": (lambda pool: without(pool, 3), "3 records were removed"),
    "in another order": (reordered, "the records were reordered"),
    "one repainted": (lambda pool: repainted(pool, 1), "one record has other pixels than it had"),
    "all repainted": (lambda pool: repainted(pool, len(pool)), " records have other pixels than they had"),
    "one for another": (exchanged, "one record was added and one record was removed"),
    "other labels": (lambda pool: changed(pool, labels=(pool.labels + 1) % 10), "the labels of records have changed"),
    "other groups": (lambda pool: changed(pool, groups=pool.groups // 2), "the groups of records have changed"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_plan_names_what_changed(kind, sealed):
    design, store = sealed
    change, words = CHANGES[kind]
    (line,) = outdated(Design(design.spec, change(design.pool)), store)
    assert line.startswith("sealed, and count no more: 1 trials (") and words in line


def test_the_same_data_elsewhere_are_no_change(sealed):
    design, store = sealed
    assert outdated(design, store) == []
    assert data_changes.change(store, design.pool.digest, design.pool) == data_changes.UNKNOWN


def test_another_decoder_is_named_where_most_images_differ(sealed):
    design, store = sealed
    (path,) = (store.folder / "data").iterdir()
    path.write_text(json.dumps({**json.loads(path.read_text()), "pillow": "1.1.7"}))
    (line,) = outdated(Design(design.spec, repainted(design.pool, len(design.pool))), store)
    assert "images decode differently with this Pillow" in line and "theirs was 1.1.7" in line
    (line,) = outdated(Design(design.spec, repainted(design.pool, 2)), store)
    assert "2 records have other pixels" in line


@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"fingerprints": 1}', b'{"fingerprints": "eA=="}'])
def test_a_store_that_kept_nothing_or_what_is_damaged_says_that_data_changed(content, sealed):
    design, store = sealed
    (path,) = (store.folder / "data").iterdir()
    path.write_bytes(content) if content is not None else path.unlink()
    (line,) = outdated(Design(design.spec, with_one_more(design.pool)), store)
    assert data_changes.UNKNOWN in line


def test_what_is_kept_is_small_and_written_once(sealed):
    design, store = sealed
    (path,) = (store.folder / "data").iterdir()
    before = path.stat()
    data_changes.keep(store, design.pool)
    assert path.stat().st_ino == before.st_ino
    assert before.st_size < 12 * len(design.pool) + 1000
