"""Copies in a study: rows, ids, the private list of pairs, and where there are too few unseen records."""

import json
import stat

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from mia_core.data import SOURCES, Pool, load_pool
from mia_core.data.pool import to_float
from mia_core.metrics import COPIES, MEASURES
from mia_core.metrics.copies import BLOCK_ELEMENTS
from mia_core.models import Snapshot
from study.design import identity
from study.design.design_rows import design_rows
from study.design.study_design import Design
from study.design.work import missing, missing_of
from study.plan import memory, overview
from study.run.runner import Runner
from study.spec.objectives import wide_name
from study.store import read
from study.store.exporting import export_public
from study.store.schema import from_parquet, to_parquet, to_table
from study.store.seals import own_file
from study.store.verifying import check
from study.terminal import Console
from study.tracking.run_content import run_content
from tests.small import small_spec

LEAN = (
    "factors.train_size=[40]", "factors.epochs=[1]", "factors.defense=[none]", "attacks=[white_box]", "replicates=1",
    "controls={blind: false, nulls: 0, copycat: false}", "split.unseen=150",
)  # fmt: skip


def run(design, store):
    store.publish(design.hash, design.spec.resolved, design_rows(design), {})
    for trials in design.trajectories.values():
        for sealed in Runner(design, store).run(missing_of(trials, store)):
            assert not sealed.failed
    return read(store.folder.parent, "small", "quality")


def test_ids_of_other_measures_are_what_they_were_and_pixels_know_no_extractor(make_design):
    with_copies, without = make_design(*LEAN), make_design(*LEAN, f"quality.measures=[{', '.join(MEASURES)}]")
    own, other = ({w.label: w.measure_id for w in d.trials[0].measures} for d in (with_copies, without))
    assert own.items() >= other.items()
    assert set(own) - set(other) == {f"{name}{of}_members" for name in COPIES for of in ("", "_pixels")}
    assert "copies" not in without.spec.resolved["quality"]
    assert with_copies.trials[0].trial_id == without.trials[0].trial_id
    changed = make_design(*LEAN, "quality.extractor.features=9")
    differing = {w.label for w in changed.trials[0].measures if own[w.label] != w.measure_id}
    assert {label for label in own if "pixels" in label} == set(own) - differing
    other_alpha = {w.label: w.measure_id for w in make_design(*LEAN, "quality.copies.alpha=0.02").trials[0].measures}
    assert {label for label in own if own[label] != other_alpha[label]} == set(own) - set(other)


def test_rows_say_the_false_copy_rate_and_names_are_in_a_private_file_alone(make_design, store, tmp_path, monkeypatch):
    design = make_design(*LEAN, "quality.measures=[kid, copies, members_copied, persons_copied]")
    members = design.split.membership(0, 40).train
    replayed = members[[0, 0, 1, 2, 3]]

    plain = Snapshot.samples

    def samples(self, count):
        images = plain(self, count)
        images[: len(replayed)] = to_float(torch.from_numpy(design.pool.images[replayed]))
        return images

    monkeypatch.setattr(Snapshot, "samples", samples)
    rows = run(design, store)
    found = rows[rows["measure"].isin(COPIES)]
    assert set(found["extractor"]) == {"pixels", "domain"}
    assert set(found["against"]) == {"members"}
    assert found["extractor_sha256"].isna().tolist() == (found["extractor"] == "pixels").tolist()
    assert json.loads(found["arguments"].iloc[0]) == {"alpha": 0.01, "neighbors": 10, "samples": 40, "unseen": 150}
    value = found[found["extractor"] == "pixels"].set_index("measure")["value"]
    # Samples of an untrained network may lie nearest to a member, too.
    assert value["copies"] >= 5 / 40
    assert value["members_copied"] >= 4 / 40
    wide = read(store.folder.parent, "small", "wide")
    for name in COPIES:
        assert wide[f"{name}_pixels_members"].iloc[0] == value[name]
        assert f"{name}_domain_members" in wide
    trial = design.trials[0].trial_id
    assert run_content(store, trial, False).metrics["quality/copies_pixels_members"] == value["copies"]

    (marker,) = store.markers([trial]).values()
    file = own_file(marker, f"copies/{trial}")
    assert stat.S_IMODE((store.folder / file).stat().st_mode) == 0o600
    pairs = json.loads(store.sealed_bytes(file, marker["files"][file]))
    told = [(pair["sample"], pair["record"], pair["file"]) for pair in pairs["pixels"]]
    assert [(number, int(record), None) for number, record in enumerate(replayed)] == told[:5]
    assert len(told) == round(40 * value["copies"])
    assert not check(store).damages
    export_public(store, tmp_path / "public")
    assert not (tmp_path / "public" / "copies").exists()
    assert set(COPIES) <= set(read(tmp_path, "public", "quality")["measure"])


def test_too_few_unseen_records_leave_copies_out_and_the_plan_says_so(make_design, store, capsys):
    design = make_design(*LEAN[:-1])
    assert {w.name for w in design.trials[0].measures} == set(MEASURES)
    reason = "a false-copy rate of 0.01 takes 99 unseen records, and split.unseen has 40"
    assert design.measures.no_copies == reason
    overview.show(Console(), design, missing(design, store))
    assert f"no copies: {reason}" in capsys.readouterr().out.replace("\n", " ")
    coarse = make_design(*LEAN[:-1], "quality.copies={alpha: 0.05, extractors: [pixels]}", "quality.measures=[copies]")
    assert [w.label for w in coarse.trials[0].measures] == ["copies_pixels_members"]
    assert coarse.measures.no_copies is None
    assert make_design(*LEAN, "quality.copies.neighbors=40").measures.no_copies.endswith("more than 40 members")


def test_persons_with_several_unseen_records_count_once_and_their_measures_have_another_version(make_design):
    plain = make_design(*LEAN, "quality.copies.alpha=0.02")
    pool = load_pool(plain.spec.data)
    alone = Design(plain.spec, Pool("digits", pool.images, pool.labels, np.arange(len(pool))))
    assert (alone.hash, alone.trials[0].measures) == (plain.hash, plain.trials[0].measures)
    assert not plain.measures.by_person
    pairs = Design(plain.spec, Pool("digits", pool.images, pool.labels, np.arange(len(pool)) // 2))
    arguments = {w.label: w.arguments for w in pairs.trials[0].measures}["copies_members"]
    assert (arguments["unseen"], arguments["unseen_persons"]) == (150, 75)
    assert identity.measures(pairs.spec, True) == dict.fromkeys(COPIES, 2)
    assert pairs.hash != identity.design_id(pairs.spec, pairs.pool, {})
    (id_of_first,) = {w.measure_id for w in pairs.trials[0].measures if w.label == "copies_members"}
    depends_on = pairs.recipe.id, pairs.split.queries_digest, pairs.spec.seed
    assert id_of_first == identity.measure_id("copies", "members", arguments, {"copies": 2}, *depends_on)
    assert id_of_first != identity.measure_id("copies", "members", arguments, {}, *depends_on)
    few = Design(make_design(*LEAN).spec, pairs.pool)
    assert few.measures.no_copies == "a false-copy rate of 0.01 takes 99 unseen persons, and split.unseen has 75"


def test_a_search_can_aim_at_copies_by_their_wide_name(make_design):
    def aims(name, *more):
        search = f"search={{objectives: [{{minimize: {name}}}], points: 2, drawn: {{epochs: [1, 1]}}}}"
        return make_design(*LEAN[:4], "factors.epochs=[1, 2]", search, *more)

    assert aims("copies_pixels_members", "split.unseen=150").spec.search.goals[0].measure == "copies_pixels_members"
    assert [wide_name(label) for label in ("kid_unseen", "copies_members", "copies_pixels_members")] == [
        "kid_domain_unseen", "copies_domain_members", "copies_pixels_members"
    ]  # fmt: skip
    with pytest.raises(ValueError, match="copies_pixels_members is not measured: a false-copy rate"):
        aims("copies_pixels_members")


def test_files_of_records_are_known_by_the_pool_and_by_no_digest(tmp_path):
    random = np.random.default_rng(1)
    for label in ("a", "b"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(3):
            image = random.integers(256, size=(8, 8), dtype=np.uint8)
            Image.fromarray(image).save(tmp_path / "data" / label / f"{number}.png")
    settings = {"name": "image_folder", "root": str(tmp_path / "data"), "size": 8, "channels": 1}
    pool = load_pool(SOURCES.choose({**settings, "cache": str(tmp_path / "cache")}))
    assert pool.files == tuple(f"{label}/{number}.png" for label in ("a", "b") for number in range(3))
    assert "0.png" not in repr(pool)


@pytest.mark.parametrize(
    "override, message",
    [
        ("quality.copies.alpha=1", "quality.copies: alpha: .*less than 1"),
        ("quality.copies.extractors=[pixel]", "did you mean 'pixels'"),
        ("quality.copies.neighbours=3", "did you mean 'neighbors'"),
        ("quality.measures=[copied]", "did you mean 'copies'"),
    ],
)
def test_settings_are_refused_in_a_line_that_names_them(override, message):
    with pytest.raises(ValueError, match=message) as told:
        small_spec(override)
    assert "\n" not in str(told.value)


def test_the_plan_counts_the_points_that_are_compared(make_design):
    design = make_design(*LEAN, "quality.measures=[copies]")
    parts = {part.what: part for part in memory._copied(design)}
    assert set(parts) == {"copies in pixels among 40 members", "copies in domain among 40 members"}
    pixels = parts["copies in pixels among 40 members"]
    assert pixels.bytes == 2 * 8 * (40 + 150 + 40) * 64 + 3 * 8 * BLOCK_ELEMENTS
    assert pixels.way_out == "leave pixels out of quality.copies.extractors"
    assert not list(memory._copied(make_design(*LEAN[:-1])))


@pytest.mark.parametrize("name", ["released", "generated"])
def test_a_number_of_samples_below_zero_is_no_table_by_either_name(name):
    row = {"trial_id": "a", "attack": "near", "attack_id": "b", "released": -1}
    table = to_table("attacks", [row])
    renamed = [name if column == "released" else column for column in table.column_names]
    with pytest.raises(pa.ArrowInvalid, match="released"):
        from_parquet(to_parquet(table.rename_columns(renamed)), "attacks")


def test_a_table_that_has_both_names_is_none():
    table = to_table("attacks", [{"trial_id": "a", "attack": "near", "attack_id": "b", "released": 1}])
    with pytest.raises(pa.ArrowInvalid, match="odd or missing columns"):
        from_parquet(to_parquet(table.append_column("generated", table["released"])), "attacks")
