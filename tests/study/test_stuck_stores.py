"""Stores that were stuck for ever: by damaged markers, other programs' copies, races; and what two attempts sealed."""

import contextlib
import fcntl
import json
import os
import shutil
import threading

import pandas as pd
import pytest
import torch

from mia_core.data import load_pool
from study.design.design_rows import design_rows
from study.design.study_design import Design
from study.design.work import missing
from study.run import heartbeat
from study.run.pass_content import Superseded
from study.run.runner import Runner
from study.store import Damaged, Pass, Store, compact, read, seals, to_bytes
from study.store.marked import Marked
from study.store.places import Folder
from study.store.schema import to_table
from tests.commands import mia_study
from tests.forging import WHOLE_TRIAL
from tests.hostile import FILES
from tests.small import small_spec

FEW = ("factors.train_size=[40]", "factors.defense=[none]", "factors.epochs=[1]", "replicates=1", "controls.nulls=0",
       "controls.blind=false", "controls.copycat=false", "attacks=[white_box]", "quality.measures=[kid]")  # fmt: skip
TRIAL = {**WHOLE_TRIAL, "trial_id": "t1", "trajectory_id": "j1", "study": "small", "role": "study"}
DESIGN = [
    {"trial_id": "t1", "trajectory_id": "j1", "role": "study", "kind": "trial", "id": "t1", "label": "trial"},
    {"trial_id": "t1", "trajectory_id": "j1", "role": "study", "kind": "attack", "id": "a1", "label": "label"},
]
SPEC = small_spec().resolved
OLD = "0123456789abcdef"
WEIGHTS = to_bytes({"x": torch.ones(2)}, {})


def scores(attack, member=2):
    rows = [{"trial_id": "t1", "attack_id": attack, "query": q, "member": q < member, "score": q / 3} for q in range(4)]
    return [{**row, "judged": True, "coin": True, "unit": row["query"]} for row in rows]


def seal(store, attacks=("a1",), train=True, sigma=1.0, scored=True):
    current = Pass(store)
    if train:
        current.add("trials", [TRIAL | {"sigma": sigma}])
    current.add("attacks", [{"trial_id": "t1", "attack": name, "attack_id": name, "auc": 0.5} for name in attacks])
    if scored and attacks:
        current.add("scores", [row for name in attacks for row in scores(name)])
    current.add_file("targets/t1", ".safetensors", WEIGHTS)
    return current, current.seal("t1", train, list(attacks), [])


@pytest.fixture
def published(store):
    store.publish("d1", SPEC, DESIGN, {})
    return store


def renamed_to_old(store, name):
    """A training's pass under the name that earlier versions gave it; the new name."""
    marker = store.marker(name)
    old = f"{marker['trial_id']}-{seals.content_id(marker['work'])}"
    marker = {key: value for key, value in marker.items() if key not in ("format", "flags", "training")}
    moved = {}
    for relative, sealed in marker["files"].items():
        new = relative.replace(f"{name}-", f"{old}-")
        (store.folder / relative).rename(store.folder / new)
        moved[new] = sealed
    (store.folder / "done" / f"{old}.json").write_bytes(seals.to_json({**marker, "files": moved}))
    (store.folder / "done" / f"{name}.json").unlink()
    return old


# Damaged markers


def all_commands(store, tmp_path, capsys):
    """Exit codes of what goes on with a store, and what was printed."""
    found = {}
    for command, words in {
        "status": [], "store check": [], "store gc": ["--dry-run"], "store compact": [],
        "store export": ["--public", str(tmp_path / "out")],
    }.items():  # fmt: skip
        first = words[:1] if command == "store export" else []
        code = mia_study(command)([*first, str(store.folder), *words[len(first) :]])
        said = capsys.readouterr()
        found[command] = code, said.out + said.err
    return found


def test_a_damaged_marker_whose_work_was_done_again_under_another_name_is_set_aside(published, tmp_path, capsys):
    seal(published)
    old = renamed_to_old(published, "t1-training")
    path = published.folder / "done" / f"{old}.json"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(Damaged, match=old):
        read(published.root, "small", "trials")
    assert all_commands(published, tmp_path / "before", capsys)["store gc"][0] == 2
    assert not published.done()
    seal(published, sigma=2.0)
    for every in (False, True):
        assert read(published.root, "small", "trials", every)["sigma"].tolist() == [2.0]
        assert len(read(published.root, "small", "scores", every)) == 4
    said = all_commands(published, tmp_path, capsys)
    assert [code for code, _ in said.values()] == [0, 0, 0, 0, 0]
    assert f"set aside: done/{old}.json" in said["store check"][1]
    assert f"done/{old}.json  (a marker that counts no more: damaged" in mia_gc(published, capsys)
    assert mia_study("store gc")([str(published.folder), "--older-than", "0"]) == 0
    assert not path.exists()
    assert "set aside" not in all_commands(published, tmp_path / "again", capsys)["store check"][1]
    assert len(read(published.root, "small", "scores")) == 4


def mia_gc(store, capsys):
    assert mia_study("store gc")([str(store.folder), "--dry-run", "--older-than", "0"]) == 0
    return capsys.readouterr().out


def test_what_a_damaged_marker_sealed_and_nobody_did_again_is_missed(published):
    seal(published)
    seal(published, ("a2",), train=False)
    published.publish("d1", SPEC, [*DESIGN, {**DESIGN[1], "id": "a2", "label": "second"}], {})
    (name,) = [name for name in published.passes() if not name.endswith("training")]
    (published.folder / "done" / f"{name}.json").write_text("{")
    with pytest.raises(Damaged, match=r"sweep command does this pass again.*store check"):
        read(published.root, "small", "attacks")
    with pytest.raises(Damaged, match=name):
        published.whole_markers(["t1"])


def test_a_damaged_marker_of_no_design_keeps_gc_until_it_is_removed_as_check_says(published, capsys):
    seal(published)
    (published.folder / "done" / f"t9-{OLD}.json").write_text("{")
    assert mia_study("store gc")([str(published.folder)]) == 2
    assert "store check" in capsys.readouterr().err
    assert mia_study("store check")([str(published.folder)]) == 1
    assert "remove it, and readers do without it (lost for good" in capsys.readouterr().out
    (published.folder / "done" / f"t9-{OLD}.json").unlink()
    assert mia_study("store gc")([str(published.folder)]) == 0


def test_rows_of_a_lost_marker_stay_in_compactions_until_it_is_done_again_and_are_then_the_new_ones(published):
    seal(published)
    seal(published, ("a2",), train=False)
    compact(published)
    path = published.folder / "done" / "t1-training.json"
    path.write_bytes(path.read_bytes()[:-9])
    (published.folder / "compacted" / ("f" * 16 + ".json")).write_text("{")
    for _ in range(2):
        assert read(published.root, "small", "trials")["sigma"].tolist() == [1.0]
        compact(published)
    seal(published, sigma=2.0)
    for _ in range(2):
        assert read(published.root, "small", "trials")["sigma"].tolist() == [2.0]
        compact(published)
    assert len(list((published.folder / "compacted").glob("*.json"))) == 1


@pytest.mark.parametrize("lost", ["damaged", "gone"])
def test_a_compaction_of_a_training_that_was_done_again_under_another_name_is_believed_no_more(published, lost):
    seal(published)
    path = published.folder / "done" / f"{renamed_to_old(published, 't1-training')}.json"
    compact(published)
    path.write_text("{") if lost == "damaged" else path.unlink()
    assert read(published.root, "small", "trials")["sigma"].tolist() == [1.0]
    seal(published, sigma=2.0)
    for _ in range(2):
        for table, column, values in (("trials", "sigma", [2.0]), ("attacks", "attack_id", ["a1"])):
            assert read(published.root, "small", table)[column].tolist() == values
        assert compact(published) == 1


def test_a_damaged_compaction_beside_a_sound_one_goes_with_the_next_compact(published, capsys):
    seal(published)
    compact(published)
    (published.folder / "compacted" / f"{OLD}.json").write_text("{")
    assert mia_study("store check")([str(published.folder)]) == 1
    assert "mia-study store compact" in capsys.readouterr().out
    assert mia_study("store compact")([str(published.folder)]) == 0
    assert mia_study("store check")([str(published.folder)]) == 0


@pytest.mark.long
def test_a_study_whose_marker_was_damaged_goes_on_and_is_complete(tmp_path, capsys):
    spec = small_spec(*FEW)
    design, store = Design(spec, load_pool(spec.data)), Store(tmp_path / "results", "small")
    store.publish(design.hash, spec.resolved, design_rows(design), {})
    for turn in range(2):
        for works in missing(design, store).values():
            list(Runner(design, store).run(works))
        assert not missing(design, store)
        if not turn:
            (name,) = store.passes()
            old = renamed_to_old(store, name)
            (store.folder / "done" / f"{old}.json").write_text("{")
    assert len(store.passes()) == 2
    for command in ("status", "tables", "controls", "store check", "store gc"):
        assert mia_study(command)([str(store.folder)]) == 0, capsys.readouterr()


# What other programs leave


COPIES = ("{} (1).json", "{}-conflict-20260101.json", "{} (laptop's conflicted copy 2026-01-01).json",
          "{}.sync-conflict-20260101-120000-ABCDEF.json", "{}~.json", "Copy of {}.json", "{}.json.json")  # fmt: skip


@pytest.mark.parametrize("content", ["the same", "damaged"])
def test_copies_that_other_programs_put_beside_files_refuse_no_reader_and_check_names_them(
    published, tmp_path, capsys, content
):
    seal(published)
    compact(published)
    published.save_failure("j1", {"error": "x"})
    published.save_feature_network("recipe", {"x": torch.ones(2)})
    before = {table: read(published.root, "small", table, True) for table in ("trials", "attacks", "scores")}
    made = []
    for folder in ("done", "compacted", "specs", "features"):
        for path in list((published.folder / folder).glob("*.json")):
            for pattern in COPIES:
                copy = path.with_name(pattern.format(path.stem))
                copy.write_bytes(path.read_bytes() if content == "the same" else b"{")
                made.append(f"{folder}/{copy.name}")
    (design,) = (published.folder / "design").iterdir()
    design.with_name(f"{design.stem} (1).parquet").write_bytes(b"")
    said = all_commands(published, tmp_path, capsys)
    assert {command: code for command, (code, _) in said.items()} == dict.fromkeys(said, 0)
    assert all(f"stray: {name} " in said["store check"][1] for name in made)
    for table, frame in before.items():
        pd.testing.assert_frame_equal(read(published.root, "small", table, True), frame)
    seal(published, ("a2",), train=False)
    compact(published)
    assert len(read(published.root, "small", "attacks", True)) == 2


@pytest.mark.parametrize("kind", [kind for kind in FILES if kind != "huge"])
def test_odd_files_among_markers_that_are_no_markers_refuse_nobody(published, tmp_path, capsys, kind):
    seal(published)
    (tmp_path / "outside").write_text("precious")
    for folder, name in (("done", "x (1).json"), ("compacted", "odd"), ("checkpoints/j1", "odd.safetensors")):
        (published.folder / folder).mkdir(parents=True, exist_ok=True)
        FILES[kind](published.folder / folder / name, tmp_path / "outside")
    said = all_commands(published, tmp_path, capsys)
    assert {command: code for command, (code, _) in said.items()} == dict.fromkeys(said, 0)
    assert list(published.checkpoints("j1", 9)) == []
    published.save_checkpoint("j1", {}, {"step": 1})
    assert [state["step"] for _, state in published.checkpoints("j1", 9)] == [1]
    assert (tmp_path / "outside").read_text() == "precious"


@pytest.mark.timeout(120)
def test_listings_pass_over_files_that_vanish_while_they_are_listed(tmp_path):
    place = Folder(tmp_path / "small")
    place.write("done/kept.json", b"{}")
    ended = threading.Event()

    def churn():
        number = 0
        while not ended.is_set():
            number += 1
            path = place.folder / "done" / f".{threading.get_ident()}-{number}"
            path.write_bytes(b"x")
            path.unlink()
            folder = place.folder / f"gone{number % 3}"
            with contextlib.suppress(OSError):  # another thread removes it
                folder.mkdir()
            shutil.rmtree(folder, ignore_errors=True)

    threads = [threading.Thread(target=churn) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(300):
            assert "kept.json" in [entry.name for entry in place.files("done")]
            for number in range(3):
                place.files(f"gone{number}")
                place.stat(f"gone{number}")
            place.folders(".")
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_a_file_that_is_gone_between_listing_and_looking_is_no_file(tmp_path, monkeypatch):
    place = Folder(tmp_path / "small")
    for name in "ab":
        place.write(f"done/{name}", b"x")
    scan = Folder._scan

    def slow(self, folder):
        found = scan(self, folder)
        (self.folder / "done" / "a").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(Folder, "_scan", slow)
    assert [entry.name for entry in place.files("done")] == ["b"]


# Checkpoints


def test_the_newest_checkpoints_are_kept_and_taken_up_and_not_those_of_the_highest_steps(store):
    for number, step in enumerate((90, 80, 3, 6)):  # an attempt that was given up, and one from the start
        store.save_checkpoint("j1", {"x": torch.full((3,), float(step))}, {"step": step})
        for path in (store.folder / "checkpoints" / "j1").iterdir():
            if path.name.startswith(f"{step:010d}"):
                set_time(path, 1_700_000_000 + number)
    assert [state["step"] for _, state in store.checkpoints("j1", 100)] == [6, 3]
    store.save_checkpoint("j1", {}, {"step": 1})
    assert 1 in [state["step"] for _, state in store.checkpoints("j1", 100)]


def set_time(path, seconds):
    os.utime(path, (seconds, seconds))


# Two attempts


def test_two_attempts_that_seal_different_work_of_a_training_count_once(published):
    assert seal(published, ("a1",))[1]
    assert not seal(published, ("a1", "a2"), sigma=2.0)[1]
    assert not seal(published, (), sigma=3.0)[1]
    assert published.passes() == ["t1-training"]
    assert read(published.root, "small", "trials", True)["sigma"].tolist() == [1.0]
    assert published.done()["t1"].attacks == {"a1"}


def test_of_two_attempts_that_seal_a_training_at_once_one_is_first(published, monkeypatch):
    seal(published, ("a1",))
    monkeypatch.setattr(Store, "done", lambda store, ids=None: {})  # it looked before the other had sealed
    assert not seal(published, ("a1", "a2"), sigma=2.0)[1]
    assert published.passes() == ["t1-training"]


def test_a_training_that_an_earlier_version_sealed_is_not_sealed_again(published):
    seal(published)
    renamed_to_old(published, "t1-training")
    assert published.done()["t1"].train
    assert not seal(published, ("a2",), sigma=2.0)[1]
    assert len(published.passes()) == 1


@pytest.mark.parametrize("compacted", [False, True])
def test_of_two_trainings_that_earlier_versions_sealed_the_first_counts_alone(published, compacted, monkeypatch):
    markers = {}
    for attacks, sigma in ((("a1",), 1.0), (("a1", "a2"), 2.0)):
        assert seal(published, attacks, sigma=sigma)[1]
        path = published.folder / "done" / f"{renamed_to_old(published, 't1-training')}.json"
        markers[path] = path.read_bytes()
        path.unlink()
    for path, data in markers.items():
        path.write_bytes(data)
    assert len(published.passes()) == 2
    if compacted:  # as they did, both
        with monkeypatch.context() as earlier:
            earlier.setattr(Marked, "of", classmethod(lambda cls, sound, damaged=(): cls(dict(sound), {}, {}, ())))
            assert compact(published) == 2
    assert read(published.root, "small", "trials", True)["sigma"].tolist() == [1.0]
    assert list(read(published.root, "small", "attacks", True)["attack_id"]) == ["a1"]
    assert published.done()["t1"].attacks == {"a1"}
    assert mia_study("store gc")([str(published.folder), "--older-than", "0"]) == 0
    assert read(published.root, "small", "trials", True)["sigma"].tolist() == [1.0]


def test_coins_of_attacks_that_two_attempts_sealed_are_read_once(published):
    from study.store.reading import trial_tables

    seal(published, ())
    seal(published, ("a1",), train=False)
    seal(published, ("a1", "a2"), train=False)
    assert len(published.passes()) == 3
    _, tables = trial_tables(published, "t1", ("trials", "attacks", "scores"))
    assert sorted(tables["attacks"]["attack_id"]) == ["a1", "a2"]
    assert len(tables["scores"]) == 8


def test_an_attempt_that_was_second_with_a_training_stops_and_says_why(tmp_path, monkeypatch):
    spec = small_spec(*FEW)
    design, store = Design(spec, load_pool(spec.data)), Store(tmp_path / "results", "small")
    ((work,),) = missing(design, store).values()
    assert len(list(Runner(design, store).run([work]))) == 1
    before = read_files(store)
    with pytest.raises(Superseded, match="another attempt has sealed this training first"):
        list(Runner(design, store).run([work]))
    assert {name: data for name, data in read_files(store).items() if name in before} == before
    assert not missing(design, store)


def read_files(store):
    return {path.name: path.read_bytes() for path in store.folder.rglob("*") if path.is_file()}


def test_no_attempt_overwrites_a_file_of_another(published):
    for folder, suffix in (("targets/t1", ".safetensors"), ("samples/t1", ".png"), ("resume/j1-4", ".safetensors")):
        names = []
        for _ in range(2):
            current = Pass(published)
            current.add_file(folder, suffix, b"x")
            names.append(next(iter(current._seals)))
        assert len(set(names)) == 2


# Readers and drivers


def test_a_reader_that_looks_whether_the_lock_is_free_keeps_no_driver_from_it(published):
    with published.lock():
        pass
    held, ended = threading.Event(), threading.Event()

    def look():
        with (published.folder / ".lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            held.set()
            ended.wait(0.2)

    thread = threading.Thread(target=look)
    thread.start()
    held.wait()
    with published.lock():
        assert heartbeat.is_locked(published)
    thread.join()


# Columns of further factors


def test_a_factor_of_truth_values_is_a_column_of_words(published):
    table = to_table("trials", [TRIAL | {"target.spectral": True}, TRIAL | {"target.spectral": None, "trial_id": "t2"}])
    assert table["target.spectral"].to_pylist() == ["true", None]


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ((None, "group"), [None, "group"]),
        ((0.5, "none"), ["0.5", "none"]),
        ((2, "none"), ["2", "none"]),
        ((True, 3), ["true", "3"]),
        ((None, 0.5), [None, 0.5]),
    ],
)
def test_null_or_a_number_in_one_file_beside_text_in_another_is_read(store, levels, words, compacted):
    design = [{**DESIGN[0], "trial_id": name, "id": name} for name in ("t1", "t2")]
    store.publish("d1", SPEC, design, {})
    for name, level in zip(("t1", "t2"), levels, strict=True):
        current = Pass(store)
        current.add("trials", [TRIAL | {"trial_id": name, "target.norm": level}])
        assert current.seal(name, True, [], [])
        if compacted:
            compact(store)
    found = read(store.root, "small", "trials")["target.norm"]
    assert [None if pd.isna(value) else value for value in found] == words


def test_formats_of_later_versions_are_refused_as_what_they_are(published):
    pointer = published.pointer()
    (published.folder / "study.json").write_bytes(seals.to_json({**pointer, "format": 99}))
    with pytest.raises(ValueError, match="written by a later version of mia-study, in format 99"):
        published.resolved()


@pytest.mark.parametrize("file", ["study.json", "done/t1-training.json", "compacted"])
def test_what_this_format_seals_is_refused_without_its_sha256(published, file):
    seal(published)
    compact(published)
    path = published.folder / file
    path = next(path.glob("*.json")) if path.is_dir() else path
    value = json.loads(path.read_bytes())
    del value["sha256"]
    data = json.dumps(value).encode()
    parsers = {"done": seals.parse_marker, "compacted": seals.parse_manifest}
    with pytest.raises(ValueError, match="has no sha256"):
        parsers[path.parent.name](path.stem, data) if path.parent.name in parsers else seals.parse_pointer(data)
