import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mia_core.data import Pool
from mia_core.data.pool import draw, resize, to_float, to_uint8


def slow_units(contents, groups):
    """Union-find over all pairs of records."""
    parent = list(range(len(groups)))

    def find(i):
        while parent[i] != i:
            i = parent[i]
        return i

    for i in range(len(groups)):
        for j in range(i):
            if groups[i] == groups[j] or contents[i] == contents[j]:
                parent[find(i)] = find(j)
    return [find(i) for i in range(len(groups))]


def pool_of(contents, groups):
    images = np.zeros((len(contents), 1, 8, 8), dtype=np.uint8)
    images[:, 0, 3, 5] = contents
    return Pool("toy", images, np.zeros(len(contents), dtype=np.int64), np.array(groups, dtype=np.int64))


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(-3, 12)), min_size=1, max_size=25))
def test_units_are_groups_and_exact_duplicates_chained_together(records):
    contents, groups = zip(*records, strict=True)
    units, slow = pool_of(contents, groups).units, slow_units(contents, groups)
    assert units.shape == (len(records),)
    for i in range(len(records)):
        for j in range(i):
            assert (units[i] == units[j]) == (slow[i] == slow[j])


def test_a_chain_of_groups_and_duplicates_is_one_unit():
    # 0 and 1 share a group, 1 and 2 are copies, 2 and 3 share a group; 4 stands alone.
    units = pool_of([10, 20, 20, 30, 40], [1, 1, 2, 2, 3]).units
    assert len(set(units[:4])) == 1
    assert units[4] != units[0]


def test_records_that_differ_in_one_pixel_are_no_duplicates():
    assert len(set(pool_of([0, 1], [0, 1]).units)) == 2


def test_digest_sees_every_pixel_label_and_group_and_not_the_name(make_pool):
    pool = make_pool(5)
    digests = {pool.digest}
    changes = 0
    for field in ("images", "labels", "groups"):
        for place in range(0, getattr(pool, field).size, 1 if field != "images" else 7):
            changed = getattr(pool, field).copy()
            changed.reshape(-1)[place] += 1
            digests.add(Pool(**{**vars_of(pool), field: changed}).digest)
            changes += 1
    assert len(digests) == changes + 1
    assert Pool(**{**vars_of(pool), "name": "other"}).digest == pool.digest


def vars_of(pool):
    return {key: getattr(pool, key) for key in ("name", "images", "labels", "groups")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((3, 1, 8, 8), dtype=np.float32)}, r"toy: images must be uint8 \[N,C,H,W\], got float32"),
        ({"images": np.zeros((3, 8, 8), dtype=np.uint8)}, r"got uint8 \(3, 8, 8\)"),
        ({"labels": np.zeros(4, dtype=np.int64)}, "3 images need 3 labels and groups"),
        ({"groups": np.zeros((3, 1), dtype=np.int64)}, "3 images need 3 labels and groups"),
    ],
)
def test_arrays_that_make_no_pool_are_refused(make_pool, change, message):
    with pytest.raises(ValueError, match=message):
        Pool(**{**vars_of(make_pool(3)), **change})


def test_bytes_become_floats_from_minus_1_to_1():
    x = to_float(torch.arange(256, dtype=torch.uint8))
    assert x.dtype == torch.float32
    assert x[0] == -1
    assert x[255] == 1
    assert torch.equal(((x + 1) * 127.5).round().to(torch.uint8), torch.arange(256, dtype=torch.uint8))


def test_resizing_keeps_records_channels_and_type(make_images):
    images = make_images(4, size=8, channels=3)
    resized = resize(images, 12)
    assert resized.shape == (4, 3, 12, 12)
    assert resized.dtype == np.uint8
    flat = np.full((1, 3, 8, 8), 7, dtype=np.uint8) * np.arange(1, 4, dtype=np.uint8)[None, :, None, None]
    assert np.array_equal(resize(flat, 16), np.repeat(np.repeat(flat, 2, axis=2), 2, axis=3))


def test_resizing_to_the_same_size_changes_nothing(make_images):
    images = make_images(4)
    assert np.array_equal(resize(images, 8), images)


def test_a_drawn_fraction_is_the_same_for_the_same_seed_and_ascends():
    drawn = draw(1000, 0.1, 3)
    assert len(drawn) == 100
    assert np.array_equal(drawn, np.unique(drawn))
    assert np.array_equal(drawn, draw(1000, 0.1, 3))
    assert not np.array_equal(drawn, draw(1000, 0.1, 4))
    assert np.array_equal(draw(7, 1.0, 0), np.arange(7))


def test_what_was_computed_once_travels_with_the_pool(make_pool, monkeypatch):
    pool = make_pool(50, largest_group=3)
    units, digest = pool.units, pool.digest
    sent = pickle.loads(pickle.dumps(pool))
    monkeypatch.setattr("mia_core.data.pool.join", None)
    monkeypatch.setattr("mia_core.data.pool.array_digest", None)
    assert np.array_equal(sent.units, units)
    assert sent.digest == digest


def test_floats_beyond_the_range_of_images_become_black_or_white():
    assert to_uint8(torch.tensor([-9.0, -1.01, -1.0, 0.0, 1.0, 1.01, 9.0])).tolist() == [0, 0, 0, 128, 255, 255, 255]
