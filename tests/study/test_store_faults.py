"""Faults 10 and 17 of the list: every file of a study damaged in every way, and study folders made by an enemy."""

import io
import os
import pickle
import re
import shutil
from functools import cache
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mia_core.data import load_pool
from study.design.design_rows import design_rows
from study.design.study_design import Design
from study.design.work import missing
from study.run.feature_spaces import feature_network
from study.run.runner import Runner
from study.spec import documents
from study.spec.overrides import override
from study.spec.study_file import parse
from study.store import Damaged, Pass, Store, compact, files, read, seals
from study.store.schema import EXPANSION, from_parquet, to_table
from tests.commands import mia_study
from tests.forging import WHOLE_TRIAL
from tests.small import SMALL

main = mia_study("store")

TABLES = ("trials", "quality", "attacks", "scores", "history", "wide")
TIMES = ["seconds", "seconds_train", "seconds_attack", "peak_bytes", "finished_at"]
FEW = ("factors.train_size=[40]", "factors.defense=[none]", "replicates=1", "controls.nulls=0", "controls.blind=false",
       "attacks=[white_box, {name: euclidean, generated: 64}]", "quality.measures=[kid]")  # fmt: skip


@pytest.fixture(scope="module")
def design():
    document = documents.parse(SMALL, "small")
    for setting in FEW:
        override(document, setting)
    spec = parse(document)
    return Design(spec, load_pool(spec.data))


@pytest.fixture(scope="module")
def sound(design, tmp_path_factory):
    """A small finished study, never changed."""
    store = Store(tmp_path_factory.mktemp("sound"), "small")
    finish(design, store)
    return store


@pytest.fixture
def copy(sound, tmp_path):
    return Store(shutil.copytree(sound.folder, tmp_path / "results" / "small").parent, "small")


def finish(design, store):
    """What a sweep does, without Ray and MLflow."""
    store.publish(design.hash, design.spec.resolved, design_rows(design), {"git_commit": "abc"})
    feature_network(design, store)
    for works in missing(design, store).values():
        assert not [item.failed for item in Runner(design, store).run(works) if item.failed]
    compact(store)
    assert not missing(design, store)


def rows(store, table):
    return read(store.folder.parent, store.study, table).drop(columns=TIMES, errors="ignore")


def check(store, capsys):
    """Exit code and output."""
    code = main(["check", str(store.folder)])
    return code, capsys.readouterr().out


def sealed_tensors(store, relative):
    """Of a target or resume state, by the name of its file."""
    for marker in store.markers().values():
        if relative in marker["files"]:
            stem = relative.removesuffix(".safetensors").removesuffix(f"-{marker['nonce']}")
            return store.sealed_tensors(stem, marker["trial_id"])
    raise Damaged(f"{relative}: not sealed by any pass")


def kinds(store):
    """One file of every kind; of markers and tables one of a pass that trained."""
    marker = next(
        name for name, found in store.markers().items() if any(f.startswith("resume") for f in found["files"])
    )
    own = sorted(store.marker(marker)["files"])
    others = ["study.json", f"done/{marker}.json"]
    for folder in ("specs", "design", "features", "compacted"):
        others += sorted(str(path.relative_to(store.folder)) for path in (store.folder / folder).iterdir())
    return own + others


def test_every_kind_of_file_is_among_those_damaged_below(sound):
    found = {name.split("/")[0] for name in kinds(sound)}
    here = {path.name for path in sound.folder.iterdir()}
    assert found == here - {".lock"}
    assert len(kinds(sound)) == 8 + 2 + 2 + 2 + 7


def flip(position):
    def harm(path):
        data = bytearray(path.read_bytes())
        data[int(position * (len(data) - 1))] ^= 4
        path.write_bytes(bytes(data))

    return harm


HARMS = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "flipped_early": flip(0.3),
    "flipped_late": flip(0.8),
    "removed": Path.unlink,
}


@pytest.mark.long
@pytest.mark.parametrize(
    "harm",
    [name if name in ("flipped_late", "removed") else pytest.param(name, marks=pytest.mark.slow) for name in HARMS],
)
def test_check_names_a_damaged_file_of_every_kind_and_no_reader_gets_a_wrong_table(sound, copy, capsys, harm):
    expected = {table: read(sound.folder.parent, "small", table) for table in ("wide", "scores", "history")}
    for name in kinds(sound):
        path = copy.folder / name
        HARMS[harm](path)
        code, said = check(copy, capsys)
        if harm == "removed" and re.fullmatch(r"compacted/\w+\.json", name):
            assert "6 unsealed files" in said  # its tables, and nothing is lost
        else:
            assert code == 1, (name, said)
            assert name in said or (path.parent.name, harm) == ("features", "removed"), (name, said)
            assert said.count("DAMAGED") == 1, (name, said)
        for table, frame in expected.items():
            try:
                found = read(copy.folder.parent, "small", table)
            except (Damaged, ValueError) as error:
                assert path.name in str(error)
            else:
                pd.testing.assert_frame_equal(found, frame)
        for relative in [item for item in kinds(sound) if item.startswith(("targets", "resume"))]:
            try:
                sealed_tensors(copy, relative)
            except Damaged:
                assert name in (relative, kinds(sound)[9])
        shutil.copy2(sound.folder / name, path)


@pytest.mark.slow
def test_what_check_says_brings_every_damaged_file_back_to_the_same_bits(design, sound, copy, capsys):
    for number in range(len(kinds(sound))):
        name = kinds(copy)[number]
        HARMS["truncated"](copy.folder / name)
        _, said = check(copy, capsys)
        for found in re.findall(r"remove ((?:done|features)/\w+(?:-\w+)?\.json)", said):
            (copy.folder / found).unlink()
        if "mia-study store compact" in said:
            assert main(["compact", str(copy.folder)]) == 0
        else:
            assert "sweep command" in said
            finish(design, copy)
        assert check(copy, capsys)[0] == 0, name
        for table in TABLES:
            pd.testing.assert_frame_equal(rows(copy, table), rows(sound, table))
        for relative in kinds(sound):
            if relative.startswith(("targets", "samples", "features")):
                assert (copy.folder / relative).read_bytes() == (sound.folder / relative).read_bytes()


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_marker_costs_its_pass_alone_and_without_a_compaction_reading_raises(
    design, sound, copy, capsys, harm
):
    shutil.rmtree(copy.folder / "compacted")
    name = next(name for name, marker in copy.markers().items() if marker["work"]["train"])
    HARMS[harm](copy.folder / "done" / f"{name}.json")
    if harm != "removed":
        with pytest.raises(Damaged, match=f"{name}.json"):
            read(copy.folder.parent, "small", "attacks")
    ((work,),) = missing(design, copy).values()
    assert name.startswith(work.trial.trial_id)
    finish(design, copy)
    assert check(copy, capsys)[0] == 0
    for table in TABLES:
        pd.testing.assert_frame_equal(rows(copy, table), rows(sound, table))


def test_a_damaged_pass_of_an_earlier_design_keeps_nobody_from_reading_the_current_one(sound, copy, capsys):
    shutil.rmtree(copy.folder / "compacted")
    current = Pass(copy)
    current.add("trials", [{**WHOLE_TRIAL, "trial_id": "earlier", "trajectory_id": "j"}])
    current.seal("earlier", train=True, attacks=[], measures=[])
    HARMS["zeroed"](next((copy.folder / "trials").glob("earlier*")))
    pd.testing.assert_frame_equal(rows(copy, "trials"), rows(sound, "trials"))
    with pytest.raises(Damaged, match="earlier"):
        read(copy.folder.parent, "small", "trials", all=True)
    assert "lost for good" in check(copy, capsys)[1]


# Study folders made by an enemy


@pytest.fixture
def canary(tmp_path):
    """A file that appears when anything is executed, beside one that nothing may touch."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.json").write_text("precious")
    return outside / "canary"


class Bomb:
    def __init__(self, canary):
        self.command = f"touch {canary}"

    def __reduce__(self):
        return os.system, (self.command,)


def untouched(canary):
    return [path.name for path in canary.parent.iterdir()] == ["precious.json"] and (
        canary.parent / "precious.json"
    ).read_text() == "precious"


def forge(store, name, relative, data):
    """Put bytes in place of a sealed file, with a marker that says they belong there."""
    marker = store.marker(name)
    (store.folder / relative).write_bytes(data)
    forged = {**marker, "files": {**marker["files"], relative: files.seal(data)}}
    (store.folder / "done" / f"{name}.json").write_bytes(seals.to_json(forged))


def use(design, store):
    """All that reads a store; every error must be one line of ours."""
    shutil.rmtree(store.folder / "compacted", ignore_errors=True)
    actions = [lambda table=table: read(store.folder.parent, store.study, table) for table in TABLES]
    actions += [lambda: store.resolved(), lambda: missing(design, store), lambda: feature_network(design, store)]
    for trial in design.trials:
        actions.append(lambda trial=trial: store.sealed_tensors(f"targets/{trial.trial_id}", trial.trial_id))
        actions.append(lambda trial=trial: next(store.checkpoints(trial.trajectory_id, 10**6), None))
    refused = []
    for action in actions:
        try:
            action()
        except (Damaged, ValueError) as error:
            assert "\n" not in str(error)
            refused.append(str(error))
    return refused


@pytest.mark.long
def test_a_pickle_in_place_of_any_file_is_refused_and_not_executed(design, sound, copy, capsys, canary):
    bomb = pickle.dumps(Bomb(canary))
    name = kinds(sound)[9].split("/")[1].removesuffix(".json")
    for relative in kinds(sound):
        if relative in copy.marker(name)["files"]:
            forge(copy, name, relative, bomb)
        else:
            (copy.folder / relative).write_bytes(bomb)
        code, _ = check(copy, capsys)
        assert code == 1 or relative.endswith(".png"), relative
        use(design, copy)
        assert untouched(canary)
        shutil.rmtree(copy.folder)
        shutil.copytree(sound.folder, copy.folder)
    torn = copy.folder / "checkpoints" / design.trials[0].trajectory_id
    torn.mkdir(parents=True)
    (torn / f"{1:010d}-{files.sha256(bomb)[:16]}.safetensors").write_bytes(bomb)
    (torn / f"word-{files.sha256(bomb)[:16]}.safetensors").write_bytes(bomb)
    assert next(copy.checkpoints(design.trials[0].trajectory_id, 9), None) is None
    assert untouched(canary)


@cache
def odd_tables():
    scores = [{"trial_id": "t", "attack_id": "a", "query": n, "score": n / 7} for n in range(10)]
    good = to_table("scores", scores)
    many = 2_000_000
    same = {"trial_id": "t", "attack_id": "a", "query": 1}
    constant = pa.table({column: pa.repeat(value, many) for column, value in same.items()})
    return {
        "another table": (to_table("quality", []), "odd or missing columns"),
        "a column too many": (good.append_column("path", pa.array(["x"] * 10)), "path"),
        "another type": (good.set_column(2, "query", pa.array(["1"] * 10)), "query"),
        "a nested type": (good.set_column(7, "score", pa.array([[1.0]] * 10)), "score"),
        "far more rows than bytes": (constant, "declares 2000000 rows"),
    }


@pytest.mark.parametrize("odd", odd_tables())
def test_a_sealed_parquet_file_of_another_schema_or_absurd_size_is_refused(design, copy, capsys, odd):
    table, message = odd_tables()[odd]
    name = next(iter(copy.markers()))
    relative = next(file for file in copy.marker(name)["files"] if file.startswith("scores/"))
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", max_rows_per_page=len(table), data_page_size=2**30)
    forge(copy, name, relative, sink.getvalue())
    assert any(message in line for line in use(design, copy))
    code, said = check(copy, capsys)
    assert code == 1
    assert f"DAMAGED {relative}" in said


def test_the_bound_on_declared_size_is_far_from_what_a_study_writes(sound):
    for path in sound.folder.rglob("*.parquet"):
        data = path.read_bytes()
        assert pq.ParquetFile(io.BytesIO(data)).metadata.num_rows < EXPANSION * len(data) / 100
        from_parquet(data)


OUTSIDE = ("../../outside/precious.json", "/etc/passwd", "trials/../../../outside/precious.json", "done/other.json",
           "targets/../study.json", "study.json", "")  # fmt: skip


@pytest.mark.parametrize("relative", OUTSIDE)
def test_a_marker_that_names_files_of_others_is_refused(design, copy, capsys, canary, relative):
    name = next(iter(copy.markers()))
    marker = copy.marker(name)
    forged = {**marker, "files": {**marker["files"], relative: files.seal(b"precious")}}
    (copy.folder / "done" / f"{name}.json").write_bytes(seals.to_json(forged))
    assert any("no file of its own" in line for line in use(design, copy))
    assert f"DAMAGED done/{name}.json" in check(copy, capsys)[1]
    assert main(["gc", str(copy.folder), "--older-than", "0"]) == 2
    assert untouched(canary)


@pytest.mark.parametrize(
    "nested", ["[" * 200_000, '{"a":' * 200_000, "9" * 10_000, '"\ud800"', "NaN", '{"trial_id": NaN}']
)
def test_json_that_breaks_parsers_is_damage_like_any_other(design, copy, capsys, nested):
    data = nested.encode("utf-8", "surrogatepass")
    for relative in ("study.json", f"done/{next(iter(copy.markers()))}.json"):
        (copy.folder / relative).write_bytes(data)
    (next((copy.folder / "specs").iterdir())).write_bytes(data)
    (next((copy.folder / "features").glob("*.json"))).write_bytes(data)
    use(design, copy)
    assert check(copy, capsys)[0] == 1


@pytest.mark.parametrize("header", [2**63 - 1, 2**20, 0])
def test_safetensors_with_a_lying_header_are_refused(design, copy, capsys, header):
    name = next(
        name for name, marker in copy.markers().items() if seals.own_file(marker, f"targets/{marker['trial_id']}")
    )
    relative = seals.own_file(copy.marker(name), f"targets/{copy.marker(name)['trial_id']}")
    forge(copy, name, relative, header.to_bytes(8, "little") + (copy.folder / relative).read_bytes()[8:])
    with pytest.raises(Damaged, match="no safetensors file"):
        sealed_tensors(copy, relative)
    assert f"DAMAGED {relative}" in check(copy, capsys)[1]


FOLDERS = ("done", "trials", "targets", "specs", "design", "features", "failures", "checkpoints", "compacted")


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_that_is_a_link_out_of_the_study_is_neither_read_nor_written(design, copy, canary, folder, capsys):
    for work in ("keep", "precious.json"):
        (canary.parent / work).write_text("precious")
    (canary.parent / "keep").unlink()
    shutil.rmtree(copy.folder / folder, ignore_errors=True)
    (copy.folder / folder).symlink_to(canary.parent)
    use(design, copy)
    trajectory = design.trials[0].trajectory_id
    writes = (
        lambda: finish(design, copy),
        lambda: copy.save_checkpoint(trajectory, {}, {"step": 1}),
        lambda: copy.drop_checkpoints("."),
        lambda: copy.save_failure(trajectory, {}),
        lambda: copy.drop_failure("precious"),
        lambda: copy.save_feature_network("r", {}),
    )
    for write in writes:
        try:
            write()
        except Damaged as error:
            assert "leads out of the study" in str(error)
    for command in ("check", "gc", "compact"):
        main([command, str(copy.folder), *(["--older-than", "0"] if command == "gc" else [])])
    assert untouched(canary)


def test_links_in_place_of_files_lead_nowhere_and_a_pipe_blocks_nobody(design, copy, capsys, canary):
    (copy.folder / ".lock").symlink_to(canary.parent / "precious.json")
    with pytest.raises(Damaged, match="leads out"), copy.lock():
        pass
    assert main(["compact", str(copy.folder)]) == 2
    first, second, third = list(copy.markers())[:3]
    for name, target in ((first, "/dev/zero"), (second, canary.parent / "precious.json")):
        (copy.folder / "done" / f"{name}.json").unlink()
        (copy.folder / "done" / f"{name}.json").symlink_to(target)
    (copy.folder / "done" / f"{third}.json").unlink()
    os.mkfifo(copy.folder / "done" / f"{third}.json")
    use(design, copy)
    code, said = check(copy, capsys)
    assert code == 1
    assert said.count("leads out of the study") == 2
    assert untouched(canary)


def test_a_pointer_or_design_that_names_other_places_is_refused(design, copy, canary):
    pointer = copy.pointer()
    for spec in ("../../outside/precious", "/etc/passwd", "a/b", "", 7, None):
        (copy.folder / "study.json").write_bytes(seals.to_json({**pointer, "spec": spec}))
        with pytest.raises(Damaged, match=r"study\.json"):
            copy.resolved()
    for trial_id in ("../../outside/precious", "*", "[a-z]"):
        assert copy.passes([trial_id]) == []
    assert untouched(canary)


@pytest.mark.parametrize("study", ["../small", "a/b", "/etc", "..", ".", "", "small/", "a\0b"])
def test_study_names_that_are_ways_are_refused(tmp_path, study):
    with pytest.raises(ValueError, match="study"):
        Store(tmp_path, study)
    document = documents.parse(SMALL, "small") | {"study": study}
    with pytest.raises(ValueError, match="study"):
        parse(document)


def test_study_files_that_execute_or_explode_are_refused(tmp_path, canary):
    laughs = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    tagged = [f"study: !!python/object/apply:os.system ['touch {canary}']", "study: !!python/name:os.system", laughs,
              f"!!python/object/new:os.system [touch {canary}]", "a: " + "[" * 100_000,
              "a: &x {b: *x}", "<<: {study: x}", "a: !!binary aGk="]  # fmt: skip
    for text in tagged:
        path = tmp_path / "study.yaml"
        path.write_text(text)
        try:
            loaded = documents.load(path)
        except ValueError as error:
            assert "\n" not in str(error)
        else:
            with pytest.raises(ValueError):
                parse(loaded)
    assert untouched(canary)
