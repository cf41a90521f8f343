import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from study.store import Compactor, Damaged, Pass, Store, compact, compacting, files, read, seal_together, seals
from study.store.manifests import manifests
from study.store.schema import SCHEMAS, open_parquet, to_parquet, to_table
from tests.forging import WHOLE_TRIAL
from tests.small import small_spec

SPEC = small_spec().resolved
TRIAL = {**WHOLE_TRIAL, "trial_id": "t1", "trajectory_id": "j1", "study": "small", "sigma": 1, "role": "study"}
ATTACK = {"trial_id": "t1", "attack": "old_label", "attack_id": "a1", "auc": 0.75, "steps": None}
DESIGN = [
    {"trial_id": "t1", "trajectory_id": "j1", "role": "study", "kind": "trial", "id": "t1", "label": "trial"},
    {"trial_id": "t1", "trajectory_id": "j1", "role": "study", "kind": "attack", "id": "a1", "label": "label"},
]
MEASURE = {
    "trial_id": "t1",
    "measure": "kid",
    "measure_id": "m1",
    "extractor": "domain",
    "against": "unseen",
    "value": 2,
}


def seal(store, trial_id="t1", attacks=("a1",), files=()):
    current = Pass(store)
    current.add("trials", [TRIAL | {"trial_id": trial_id}])
    current.add("attacks", [ATTACK | {"trial_id": trial_id, "attack_id": name} for name in attacks])
    for stem, suffix, data in files:
        current.add_file(stem, suffix, data)
    return current.seal(trial_id, train=True, attacks=list(attacks), measures=[])


def test_nothing_of_a_pass_is_seen_before_its_marker(store):
    store.publish("d1", SPEC, DESIGN, {})
    current = Pass(store)
    current.add("trials", [TRIAL])
    current.add_file("targets/t1", ".safetensors", b"weights")
    assert store.done() == {}
    assert read(store.folder.parent, "small", "trials").empty
    assert current.seal("t1", train=True, attacks=[], measures=[])
    assert store.done()["t1"].train
    assert store.done()["t1"].kept
    assert list(read(store.folder.parent, "small", "trials")["trial_id"]) == ["t1"]


def test_all_of_a_study_is_for_its_owner_alone_whatever_the_umask(store):
    before = os.umask(0)
    try:
        with store.lock():
            store.probe()
            store.publish("d1", SPEC, DESIGN, {})
            seal(store, files=[("targets/t1", ".safetensors", b"weights"), ("samples/t1", ".png", b"a picture")])
            store.save_feature_network("recipe", {})
            store.save_checkpoint("j1", {}, {"step": 1})
            store.save_failure("j1", {"error": "an error"})
            compact(store)
    finally:
        os.umask(before)
    made = [store.folder.parent, *store.folder.parent.rglob("*")]
    assert {oct(path.stat().st_mode & 0o777) for path in made if path.is_dir()} == {"0o700"}
    assert {oct(path.stat().st_mode & 0o777) for path in made if path.is_file()} == {"0o600"}
    folders = {path.relative_to(store.folder).parts[0] for path in made[2:]}
    assert folders >= {".lock", "study.json", "done", "targets", "samples", "features", "checkpoints", "failures"}


def test_a_result_cannot_be_sealed_twice(store):
    store.publish("d1", SPEC, DESIGN, {})
    assert seal(store)
    assert not seal(store)
    assert len(read(store.folder.parent, "small", "trials")) == 1


def derived(store, numbers):
    """Passes of one attack for each trial."""
    found = {}
    for number in numbers:
        trial_id = f"t{number}"
        current = Pass(store)
        current.add("attacks", [ATTACK | {"trial_id": trial_id, "auc": number / 10}])
        found[trial_id] = current, ["a1"]
    return found


def test_passes_that_are_sealed_together_are_as_sealed_one_by_one_and_no_marker_precedes_a_table(store, monkeypatch):
    others = Store(store.folder.parent, "others")
    for one in (store, others):
        one.publish("d1", SPEC, DESIGN, {})
        seal(one, attacks=())
    log = []
    for module, name in ((files, "write"), (files, "create"), (files, "sync_folder")):
        plain = getattr(module, name)

        def logged(path, *arguments, plain=plain, name=name):
            log.append((name, path.name if name == "sync_folder" else path.parent.name))
            return plain(path, *arguments)

        monkeypatch.setattr(module, name, logged)
    with ThreadPoolExecutor(4) as threads:
        seal_together(store, derived(store, range(1, 6)), threads)
    assert log == [
        *[("write", "attacks")] * 5, ("sync_folder", "attacks"), *[("create", "done")] * 5, ("sync_folder", "done"),
    ]  # fmt: skip
    for trial_id, (current, attacks) in derived(others, range(1, 6)).items():
        assert current.seal(trial_id, train=False, attacks=attacks, measures=[])
    tables = [read(one.folder.parent, one.study, "attacks", all=True) for one in (store, others)]
    pd.testing.assert_frame_equal(*(table.sort_values("trial_id", ignore_index=True) for table in tables))
    assert len(tables[0]) == 5
    markers = [
        {(name, str(marker["work"]), marker["training"] is None) for name, marker in one.markers().items()}
        for one in (store, others)
    ]
    assert markers[0] == markers[1]
    with ThreadPoolExecutor(4) as threads:
        seal_together(store, derived(store, range(1, 6)), threads)
    assert len(read(store.folder.parent, store.study, "attacks", all=True)) == 5


def test_every_flipped_truncated_or_missing_file_of_a_pass_is_refused(store):
    store.publish("d1", SPEC, DESIGN, {})
    seal(store, files=[("targets/t1", ".safetensors", b"weights")])
    seals = next(iter(store.markers().values()))["files"]
    assert {name.split("/")[0] for name in seals} == {"trials", "attacks", "targets"}
    for name, seal_of in seals.items():
        path = store.folder / name
        good = path.read_bytes()
        for bad in (good[:-1], b"", bytes([good[0] ^ 1]) + good[1:], good[:-1] + bytes([good[-1] ^ 128])):
            path.write_bytes(bad)
            with pytest.raises(Damaged, match=path.name):
                store.sealed_bytes(name, seal_of)
        path.unlink()
        with pytest.raises(Damaged, match=path.name):
            store.sealed_bytes(name, seal_of)
        path.write_bytes(good)
        assert store.sealed_bytes(name, seal_of) == good


def test_reading_a_damaged_table_raises_and_never_returns_wrong_rows(store):
    store.publish("d1", SPEC, DESIGN, {})
    seal(store)
    path = next((store.folder / "attacks").iterdir())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))
    with pytest.raises(Damaged):
        read(store.folder.parent, "small", "attacks")


def test_compacting_changes_no_row_and_later_passes_still_count(store):
    store.publish("d1", SPEC, DESIGN, {})
    seal(store, "t1")
    seal(store, "t2")
    before = {table: read(store.folder.parent, "small", table, all=True) for table in ("trials", "attacks", "history")}
    assert compact(store) == 2
    for path in (store.folder / "trials").iterdir():
        path.unlink()  # the compacted rows alone must do
    for table, frame in before.items():
        pd.testing.assert_frame_equal(read(store.folder.parent, "small", table, all=True), frame)
    seal(store, "t3")
    assert set(read(store.folder.parent, "small", "trials", all=True)["trial_id"]) == {"t1", "t2", "t3"}
    (store.folder / "trials" / "stray.parquet").write_bytes(b"garbage nobody sealed")
    assert compact(store) == 3
    assert len(list((store.folder / "compacted").glob("*.json"))) == 1


def test_rows_of_a_pass_that_was_done_again_are_the_new_ones_though_a_compaction_has_the_old(store):
    store.publish("d1", SPEC, DESIGN, {})
    seal(store, "t1")
    compact(store)
    next((store.folder / "done").iterdir()).unlink()
    assert len(read(store.folder.parent, "small", "trials")) == 1
    current = Pass(store)
    current.add("trials", [TRIAL | {"sigma": 2}])
    assert current.seal("t1", train=True, attacks=["a1"], measures=[])
    for _ in range(2):
        assert read(store.folder.parent, "small", "trials")["sigma"].tolist() == [2]
        compact(store)
    assert len(list((store.folder / "compacted").glob("*.json"))) == 1


@pytest.fixture
def many(store):
    """A compacted store of more passes than are read one by one, and what it was asked to read since."""
    store.publish("d1", SPEC, DESIGN, {})
    for number in range(12):
        seal(store, f"t{number}")
    compact(store)
    asked = []
    plain = store.place.read

    def read_and_tell(relative, most=None):
        asked.append(relative)
        return plain(relative, most)

    store.place.read = read_and_tell
    return store, asked


def test_markers_of_a_compacted_store_are_those_of_its_passes_and_read_at_once(many):
    store, asked = many
    found = store.markers()
    assert not [relative for relative in asked if relative.startswith("done/")]
    assert found == {name: store.marker(name) for name in store.passes()}
    assert len(found) == 12
    seal(store, "t_new")
    asked.clear()
    assert len(store.done()) == 13
    (new,) = store.passes(["t_new"])
    assert [relative for relative in asked if relative.startswith("done/")] == [f"done/{new}.json"]


def test_a_marker_that_is_gone_damaged_or_written_anew_is_not_taken_from_a_compaction(many):
    store, _ = many
    gone, damaged, anew = store.passes()[:3]
    (store.folder / "done" / f"{gone}.json").unlink()
    path = store.folder / "done" / f"{damaged}.json"
    path.write_bytes(path.read_bytes()[:-1])
    (store.folder / "done" / f"{anew}.json").unlink()
    trial_id = anew.rpartition("-")[0]
    assert seal(store, trial_id)
    found = store.markers()
    assert found.keys() == set(store.passes()) - {damaged}
    assert found[anew] == store.marker(anew)
    assert trial_id in store.done()
    assert compact(store) == 10


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-9])])
def test_without_its_compacted_markers_a_store_reads_the_same_and_compacts_anew(many, harm):
    store, asked = many
    before = read(store.folder.parent, "small", "wide"), store.markers()
    (path,) = (store.folder / "compacted").glob("markers-*")
    harm(path)
    pd.testing.assert_frame_equal(read(store.folder.parent, "small", "wide"), before[0])
    assert store.markers() == before[1]
    compact(store)
    asked.clear()
    assert store.markers() == before[1]
    assert not [relative for relative in asked if relative.startswith("done/")]


def test_a_compaction_of_an_older_version_has_no_markers_and_is_read_all_the_same(many):
    store, _ = many
    (path,) = (store.folder / "compacted").glob("*.json")
    manifest = json.loads(path.read_bytes())
    del manifest["sha256"]
    relative = next(file for file in manifest["files"] if file.startswith("compacted/markers-"))
    del manifest["files"][relative]
    path.write_bytes(seals.to_json(manifest))
    (store.folder / relative).unlink()
    for file in (store.folder / "trials").iterdir():
        file.unlink()  # the compacted rows must do
    assert len(read(store.folder.parent, "small", "trials", all=True)) == 12
    assert len(store.markers()) == 12


def test_a_copy_with_other_file_times_reads_the_same_and_is_compacted_anew(many, tmp_path):
    store, _ = many
    copy = Store(tmp_path / "copy", "small")
    for path in store.folder.rglob("*.*"):
        copy.place.write(str(path.relative_to(store.folder)), path.read_bytes())
    assert copy.markers() == store.markers()
    (markers,) = (copy.folder / "compacted").glob("markers-*")
    before = markers.read_bytes()
    compact(copy)
    assert markers.read_bytes() != before
    assert copy.markers() == store.markers()


def test_scores_of_a_racing_attempt_count_once_in_few_files_and_in_many(store):
    store.publish("d1", SPEC, DESIGN, {})
    for attacks in (["a1"], ["a1", "a2"], ["a2", "a3"]):
        current = Pass(store)
        rows = [
            {"trial_id": "t1", "attack_id": name, "query": q, "member": q < 2, "score": q / 3}
            for name in attacks
            for q in range(4)
        ]
        current.add("scores", rows)
        current.seal("t1", train=False, attacks=attacks, measures=[])
        before = read(store.folder.parent, "small", "scores", all=True)
        compact(store)
        pd.testing.assert_frame_equal(read(store.folder.parent, "small", "scores", all=True), before)
    assert len(before) == 12
    assert len(before[["attack_id", "query"]].drop_duplicates()) == 12


def test_a_running_sweep_compacts_at_every_doubling(store, monkeypatch):
    monkeypatch.setattr(compacting, "FEWEST", 4)
    compactor = Compactor(store)
    covered = []
    for number in range(20):
        seal(store, f"t{number}")
        compactor.count()
        covered.append([len(manifest["passes"]) for manifest in manifests(store.place)])
    assert covered[2] == []
    assert [found for (found,) in covered[3:]] == [4] * 4 + [8] * 8 + [16] * 5


def test_only_the_current_design_is_read_under_its_labels_unless_all_is_asked(store):
    store.publish("d1", SPEC, DESIGN, {})
    seal(store, "t1", attacks=("a1", "not_wanted_any_more"))
    seal(store, "t_of_another_design")
    frame = read(store.folder.parent, "small", "attacks")
    assert list(frame["attack_id"]) == ["a1"]
    assert list(frame["attack"]) == ["label"]
    assert len(read(store.folder.parent, "small", "attacks", all=True)) == 3


def test_wide_is_one_row_a_trial_and_attack_with_quality_by_name(store):
    store.publish("d1", SPEC, [*DESIGN, DESIGN[0] | {"kind": "measure", "id": "m1", "label": "kid_unseen"}], {})
    current = Pass(store)
    current.add("trials", [TRIAL])
    current.add("attacks", [ATTACK])
    current.add("quality", [MEASURE])
    current.seal("t1", True, ["a1"], ["m1"])
    wide = read(store.folder.parent, "small", "wide")
    assert len(wide) == 1
    assert wide.loc[0, "kid_domain_unseen"] == 2.0
    assert wide.loc[0, "auc"] == 0.75
    assert wide.loc[0, "sigma"] == 1.0


def test_every_file_has_the_documented_columns_and_types_and_page_checksums(store):
    seal(store)
    path = next((store.folder / "trials").iterdir())
    schema = pq.read_schema(path)
    assert schema.names[: len(SCHEMAS["trials"])] == list(SCHEMAS["trials"])
    assert schema.field("train_size").type == pa.int64()
    assert schema.field("sigma").type == pa.float64()
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"


@pytest.mark.parametrize("encoded", [(), ("trial_id", "attack_id")])
def test_an_open_file_refers_to_no_bytes_of_python(encoded):
    data = to_parquet(to_table("scores", [{"trial_id": "t1", "attack_id": "a1", "query": 1, "score": 0.5}]))
    references = sys.getrefcount(data)
    file = open_parquet(data, "scores", encoded)
    assert sys.getrefcount(data) == references
    assert file.read().num_rows == 1


def test_flipping_a_bit_in_a_page_is_caught_by_parquet_itself(tmp_path):
    from study.store.schema import from_parquet

    values = [{"trial_id": f"t{n}", "attack_id": "a", "query": n, "score": n / 7} for n in range(2000)]
    good = to_parquet(to_table("scores", values))
    expected = from_parquet(good)
    pages = len(good) - 8 - int.from_bytes(good[-8:-4], "little")  # before the footer, which the marker's sha256 covers
    for position in range(4, pages, 97):
        bad = bytearray(good)
        bad[position] ^= 1
        try:
            assert from_parquet(bytes(bad)).equals(expected)
        except (OSError, pa.ArrowException):
            continue


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_never_reach_the_store(value):
    with pytest.raises(ValueError, match="not finite"):
        to_table("attacks", [ATTACK | {"auc": value}])


def test_a_text_in_a_number_column_is_refused():
    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError)):
        to_table("trials", [TRIAL | {"train_size": "forty"}])


def test_a_torn_checkpoint_is_passed_over_and_two_are_kept(store):
    import torch

    for step in (1, 2, 3):
        store.save_checkpoint("j1", {"x": torch.full((3,), float(step))}, {"step": step})
    found = sorted((store.folder / "checkpoints" / "j1").iterdir())
    assert len(found) == 2
    assert next(store.checkpoints("j1", up_to_step=9), None)[1]["step"] == 3
    assert next(store.checkpoints("j1", up_to_step=2), None)[1]["step"] == 2
    found[-1].write_bytes(found[-1].read_bytes()[:-5])
    tensors, state = next(store.checkpoints("j1", up_to_step=9), None)
    assert state["step"] == 2
    assert tensors["x"].tolist() == [2.0] * 3


def test_two_drivers_on_one_study_the_second_is_refused(store):
    with store.lock(), pytest.raises(ValueError, match="another sweep"), Store(store.folder.parent, "small").lock():
        pass
    with store.lock():
        pass


def test_what_is_not_a_study_or_a_table_is_said(tmp_path, store):
    with pytest.raises(ValueError, match="no study here"):
        read(tmp_path, "absent", "trials")
    with pytest.raises(ValueError, match="not one of"):
        read(tmp_path, "absent", "trails")
    with pytest.raises(ValueError, match="not supported"):
        Store("gs://bucket/results", "small")


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-9])])
@pytest.mark.parametrize("file", ["study.json", "specs/d1.json", "design/d1.parquet"])
def test_a_lost_or_torn_file_for_readers_is_named_and_the_next_sweep_writes_it_again(store, file, harm):
    store.publish("d1", SPEC, DESIGN, {})
    seal(store)
    harm(store.folder / file)

    def look():
        return store.resolved(), read(store.folder.parent, "small", "attacks")

    with pytest.raises((Damaged, ValueError), match=Path(file).name):
        look()
    store.publish("d1", SPEC, DESIGN, {})
    assert len(look()[1]) == 1


def test_the_ids_that_a_newer_version_gives_to_the_same_spec_are_the_ones_read(store):
    store.publish("d1", SPEC, DESIGN, {})
    seal(store, attacks=("a1", "a2"))
    store.publish("d1", SPEC, [DESIGN[0], DESIGN[1] | {"id": "a2"}], {})
    assert read(store.folder.parent, "small", "attacks")["attack_id"].tolist() == ["a2"]


def test_the_pointer_and_marker_are_plain_json(store):
    store.publish("d1", SPEC, DESIGN, {"git_commit": "abc"})
    seal(store)
    assert store.pointer()["git_commit"] == "abc"
    marker = json.loads(next((store.folder / "done").iterdir()).read_text())
    assert marker["work"] == {"train": True, "attacks": ["a1"], "measures": []}
    assert all(set(item) == {"bytes", "sha256"} for item in marker["files"].values())
