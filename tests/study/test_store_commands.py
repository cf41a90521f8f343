import json
import os
import re
import shutil
import signal
import subprocess
import sys

import pandas as pd
import pytest

from analysis.stats.baselines import audits, verdicts
from analysis.study_data import load
from mia_core.data import load_pool
from study.design.design_rows import design_rows
from study.design.study_design import Design
from study.design.work import missing
from study.machine import PROJECT
from study.run.feature_spaces import feature_network
from study.run.runner import Runner
from study.store import Pass, Store, compact, files, read
from tests.commands import mia_study
from tests.forging import WHOLE_TRIAL
from tests.small import small_spec

main = mia_study("store")

FEW = ("factors.train_size=[40]", "factors.defense=[none, {name: dp_sgd, sigma: 1.0, clip: 1.0, delta: 1e-5}]",
       "factors.epochs=[1]", "replicates=2", "controls.nulls=1", "audit={attack: white_box}",
       "attacks=[white_box, {name: euclidean, generated: 64}]", "quality.measures=[kid]")  # fmt: skip
HOUR = 3600


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A small finished study, never changed: its design, and the folder of its results."""
    spec = small_spec(*FEW)
    design, store = Design(spec, load_pool(spec.data)), Store(tmp_path_factory.mktemp("sound"), "small")
    store.publish(design.hash, design.spec.resolved, design_rows(design), {"git_commit": "abc", "host": "ward7"})
    feature_network(design, store)
    for works in missing(design, store).values():
        list(Runner(design, store).run(works))
    compact(store)
    return design, store.folder


@pytest.fixture
def finished(sound, store):
    """Its design; `store` is a copy of it."""
    design, folder = sound
    shutil.copytree(folder, store.folder)
    return design


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def drop(store, relative, age_hours=48.0):
    path = store.folder / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"garbage")
    changed = path.stat().st_mtime - age_hours * HOUR
    os.utime(path, (changed, changed))


def test_check_of_a_finished_study_finds_nothing_and_changes_nothing(finished, store, capsys):
    before = tree(store.folder)
    assert main(["check", str(store.folder)]) == 0
    assert "0 damaged\n0 unsealed files, 0 bytes" in capsys.readouterr().out
    assert tree(store.folder) == before


@pytest.mark.slow
def test_check_warns_of_a_study_that_others_can_read_with_the_command_that_ends_it(finished, store, capsys):
    def lines():
        assert main(["check", str(store.folder)]) == 0
        return capsys.readouterr().out.splitlines()

    undisturbed = lines()
    for mode in (0o755, 0o750, 0o711):
        store.folder.chmod(mode)
        first, *others = lines()
        warning, _, command = first.partition("; ")
        assert warning == f"warning: {store.folder} may be read by other users of this machine"
        assert others == undisturbed
        subprocess.run(["bash", "-c", command], check=True)
        assert lines() == undisturbed


def test_what_a_study_was_given_before_it_was_private_is_kept_and_added_to(finished, store, make_design):
    for path in (store.folder, *store.folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    longer = make_design(*FEW, "replicates=3")
    store.publish(longer.hash, longer.spec.resolved, design_rows(longer), {})
    for works in missing(longer, store).values():
        list(Runner(longer, store).run(works))
    assert not missing(longer, store)
    assert oct(store.folder.stat().st_mode & 0o777) == "0o755"
    assert {path.stat().st_mode & 0o777 for path in (store.folder / "done").iterdir()} == {0o644, 0o600}


def test_a_public_copy_is_for_all_to_read_and_not_warned_of(finished, store, tmp_path, capsys):
    before = os.umask(0o022)
    try:
        assert main(["export", "--public", str(store.folder), str(tmp_path / "public")]) == 0
    finally:
        os.umask(before)
    paths = [tmp_path / "public", *(tmp_path / "public").rglob("*")]
    assert {oct(path.stat().st_mode & 0o777) for path in paths} == {"0o755", "0o644"}
    assert main(["check", str(tmp_path / "public")]) == 0
    assert "warning" not in capsys.readouterr().out


def test_what_no_marker_names_is_collected_and_nothing_else(finished, store, capsys):
    before = tree(store.folder)
    trained, other = finished.trials[0].trajectory_id, "trajectory_of_nobody"
    dropped = ["trials/t-w-n.parquet", "scores/t-w-n.parquet", "targets/t.safetensors", "resume/j-4.safetensors",
               "samples/t.png", "targets/.t.safetensors.0123abcd", ".probe-0123abcd", "done/.x.json.0123abcd",
               f"checkpoints/{trained}/1-a.safetensors", "compacted/trials-0123.parquet"]  # fmt: skip
    spared = [
        "reports/page.html",
        "notes.txt",
        f"checkpoints/{other}/1-a.safetensors",
        "failures/x.json",
        "trials/a/b.parquet",
    ]
    for relative in (*dropped, *spared):
        drop(store, relative)
    drop(store, "targets/young.safetensors", age_hours=23)
    assert main(["gc", str(store.folder), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert all(f"7 {relative}  (" in said for relative in dropped)
    assert "70 bytes would be freed in 10 files\n1 more are younger than 24 hours" in said
    assert len(tree(store.folder)) == len(before) + len(dropped) + len(spared) + 1
    assert main(["gc", str(store.folder)]) == 0
    assert "70 bytes freed in 10 files" in capsys.readouterr().out
    after = tree(store.folder)
    assert after.keys() - before.keys() == {*spared, "targets/young.safetensors", ".lock"}
    assert {name: after[name] for name in before} == before
    assert main(["gc", str(store.folder), "--older-than", "0"]) == 0
    assert not (store.folder / "targets" / "young.safetensors").exists()
    assert not (store.folder / "checkpoints" / trained).exists()
    assert {name: data for name, data in tree(store.folder).items() if name in before} == before


def test_checkpoints_stay_while_any_design_wants_more_of_their_trajectory(finished, make_design, store):
    longer = make_design(*FEW, "factors.epochs=[1, 2]")
    trajectory = longer.trials[0].trajectory_id
    drop(store, f"checkpoints/{trajectory}/1-a.safetensors")
    rows = design_rows(longer)
    store.publish(longer.hash, longer.spec.resolved, rows, {})
    store.publish(finished.hash, finished.spec.resolved, design_rows(finished), {})
    assert main(["gc", str(store.folder)]) == 0
    assert (store.folder / f"checkpoints/{trajectory}/1-a.safetensors").exists()


def test_a_pass_that_is_sealed_while_garbage_is_listed_is_kept(finished, store, monkeypatch):
    current = Pass(store)
    current.add("trials", [{**WHOLE_TRIAL, "trial_id": "late", "trajectory_id": "j"}])
    plain = Store.passes

    def sealing(self, *arguments):
        monkeypatch.setattr(Store, "passes", plain)
        current.seal("late", train=True, attacks=[], measures=[])
        return plain(self, *arguments)

    drop(store, "targets/late.safetensors", age_hours=0)
    current._seals["targets/late.safetensors"] = files.seal(b"garbage")
    monkeypatch.setattr(Store, "passes", sealing)
    assert main(["gc", str(store.folder), "--older-than", "0"]) == 0
    assert (store.folder / "targets" / "late.safetensors").exists()


def test_a_file_that_is_written_anew_after_it_was_listed_is_kept(finished, store, monkeypatch):
    from study.store import collecting

    drop(store, "targets/t.safetensors")
    plain = collecting.garbage

    def replaced(store):
        found = plain(store)
        store.place.write("targets/t.safetensors", b"of a new attempt")
        return found

    monkeypatch.setattr(collecting, "garbage", replaced)
    assert main(["gc", str(store.folder)]) == 0
    assert (store.folder / "targets/t.safetensors").read_bytes() == b"of a new attempt"


@pytest.mark.parametrize("command", ["gc", "compact"])
def test_while_a_sweep_runs_nothing_is_collected_or_compacted(finished, store, capsys, command):
    drop(store, "targets/t.safetensors")
    with store.lock():
        assert main([command, str(store.folder)]) == 2
    assert "another sweep or mia-study track is working" in capsys.readouterr().err
    assert (store.folder / "targets" / "t.safetensors").exists()


def test_garbage_is_not_told_from_results_while_a_marker_is_damaged(finished, store, capsys):
    marker = next((store.folder / "done").iterdir())
    marker.write_bytes(marker.read_bytes()[:-5])
    before = tree(store.folder)
    assert main(["gc", str(store.folder), "--older-than", "0"]) == 2
    assert marker.name in capsys.readouterr().err
    assert main(["check", str(store.folder)]) == 1
    assert "not counted while markers are damaged" in capsys.readouterr().out
    assert {name: data for name, data in tree(store.folder).items() if name != ".lock"} == before


def test_compact_by_hand_makes_a_damaged_compaction_again(finished, store, capsys):
    wide = read(store.folder.parent, "small", "wide")
    for path in (store.folder / "compacted").glob("*.parquet"):
        path.write_bytes(b"")
    pd.testing.assert_frame_equal(read(store.folder.parent, "small", "wide"), wide)
    assert main(["compact", str(store.folder)]) == 0
    assert f"{len(store.markers())} passes compacted" in capsys.readouterr().out
    assert main(["check", str(store.folder)]) == 0
    before = tree(store.folder)
    assert main(["compact", str(store.folder)]) == 0
    assert tree(store.folder) == before


@pytest.mark.parametrize("command", ["check", "gc", "compact", "export"])
@pytest.mark.parametrize("folder", ["absent", "empty", ".."])
def test_what_is_no_study_is_refused_and_nothing_appears(tmp_path, capsys, command, folder):
    (tmp_path / "empty").mkdir()
    more = [str(tmp_path / "out"), "--public"] if command == "export" else []
    assert main([command, str(tmp_path / folder), *more]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


# The public copy


READERLESS = """
import os, sys

import analysis.stats.summary, mia_core.metrics, study.store  # once, for all that are forked below
from tests.commands import script

folder, *commands = sys.argv[1:]
read_end, write_end = os.pipe()
os.close(read_end)  # as `| head` does, before anything is printed
for command in commands:
    forked = os.fork()
    if not forked:
        os.dup2(write_end, 1)
        script([*command.split(), folder])
    _, status = os.waitpid(forked, 0)
    print(command, os.waitstatus_to_exitcode(status), file=sys.stderr)
"""


@pytest.mark.slow
def test_a_command_whose_reader_has_gone_ends_without_a_word(finished, store):
    drop(store, "trials/x.parquet")
    commands = ["tables", "controls", "audit", "store check", "store gc --dry-run"]
    words = [sys.executable, "-c", READERLESS, str(store.folder), *commands]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, timeout=600, check=False)
    assert done.stderr.splitlines() == [f"{command} {-signal.SIGPIPE}" for command in commands]


@pytest.fixture
def public(finished, store, tmp_path, monkeypatch):
    """A public copy of a study whose data lie in a telling place."""
    resolved = store.resolved()
    told = {
        **resolved,
        "data": {**resolved["data"], "root": "/home/lovelace/ward7", "labels": ["lovelace.csv"], "grades": [2, 3]},
    }
    store.publish(finished.hash, told, design_rows(finished), {"git_commit": "abc", "host": "ward7"})
    store.save_failure(finished.trials[0].trajectory_id, {"traceback": "/home/lovelace/ward7"})
    out = tmp_path / "out" / "small_public"
    assert main(["export", "--public", str(store.folder), str(out)]) == 0
    return Store(out.parent, out.name)


def test_a_public_copy_has_the_same_rows_and_nothing_of_records_machines_or_people(public, store):
    assert {path.name for path in public.folder.iterdir()} == {
        "NOTICE.txt", "study.json", "specs", "design", "done", "trials", "quality", "attacks", "history", "compacted",
    }  # fmt: skip
    scores = read(store.folder.parent, "small", "scores")
    for table in ("trials", "quality", "attacks", "history", "wide"):
        own, copied = (read(place.folder.parent, place.study, table) for place in (store, public))
        odd = ["config", "versions"] if table in ("trials", "wide") else []
        odd += ["loss_generator", "loss_discriminator", "d_real", "d_fake"] if table == "history" else []
        pd.testing.assert_frame_equal(copied.drop(columns=odd), own.drop(columns=odd))
        assert not set(copied) & {"query", "unit", "member", "score", "coin"}
    assert len(scores) > 0
    for data in tree(public.folder).values():
        assert b"lovelace" not in data
        assert b"ward7" not in data
    assert public.resolved()["data"] == {"name": "digits", "size": 8, "root": None, "labels": None, "grades": [2, 3]}
    assert public.resolved()["factors"] == store.resolved()["factors"]
    assert public.pointer().keys() == {"study", "spec", "format", "git_commit", "public", "versions", "files"}
    assert main(["check", str(public.folder)]) == 0


def test_words_of_the_data_leave_the_rows_too_and_versions_nobody_listed(finished, store, tmp_path, monkeypatch):
    from study.run import trial_row

    name = next(name for name, marker in store.markers().items() if marker["work"]["train"])
    (store.folder / "done" / f"{name}.json").unlink()
    shutil.rmtree(store.folder / "compacted")
    plain = type(finished.spec.data).to_dict
    monkeypatch.setattr(
        type(finished.spec.data),
        "to_dict",
        lambda self: {**plain(self), **({"root": "/ward7"} if self.name == "digits" else {})},
    )
    monkeypatch.setattr(trial_row, "versions", lambda: {"torch": "2", "host": "ward7"})
    ((work, *_),) = missing(finished, store).values()
    list(Runner(finished, store).run([work]))
    assert "ward7" in "".join(read(store.folder.parent, "small", "trials")["config"])
    assert main(["export", "--public", str(store.folder), str(tmp_path / "out")]) == 0
    row = read(tmp_path, "out", "trials").set_index("trial_id").loc[work.trial.trial_id]
    assert json.loads(row["config"])["data"]["root"] is None
    assert json.loads(row["versions"]) == {"torch": "2"}


@pytest.mark.slow
def test_analysis_reads_a_public_copy_and_says_what_needs_scores(public, capsys, tmp_path):
    assert mia_study("tables")([str(public.folder)]) == 0
    said = capsys.readouterr().out
    assert "Arms after 1 epochs: AUC by attack" in said
    assert "not available: a public copy has no scores" in said
    assert mia_study("figures")([str(public.folder), str(tmp_path / "pictures")]) == 0
    pictures = {path.stem for path in (tmp_path / "pictures").iterdir()}
    assert {"leakage_over_training", "declared_effects", "front", "against_epsilon"} <= pictures
    assert not {name for name in pictures if "roc" in name or "record" in name}  # they are made of scores
    data = load(public.folder)
    for table in (verdicts(data), audits(data)):
        assert table["verdict"].str.startswith("not available").all()
    capsys.readouterr()
    for command in ("controls", "audit"):
        assert mia_study(command)([str(public.folder)]) == 2
        assert "a public copy has no scores" in capsys.readouterr().err
    with pytest.raises(ValueError, match="public copy has no scores"):
        read(public.folder.parent, public.study, "scores")


def test_nothing_is_added_to_a_public_copy_and_a_copy_of_it_is_the_same(finished, public, tmp_path, capsys):
    with pytest.raises(ValueError, match="public copy, to which nothing can be added"):
        public.publish(finished.hash, finished.spec.resolved, design_rows(finished), {})
    assert main(["export", "--public", str(public.folder), str(tmp_path / "again")]) == 0
    own, again = tree(public.folder), tree(tmp_path / "again")
    timed = [name for name in own if re.fullmatch(r"compacted/(markers-)?\w+\.(parquet|json)", name)]  # with file times
    assert len(timed) == 2
    assert own.keys() == again.keys()
    assert all(own[name] == again[name] for name in own if name not in timed)
    assert main(["gc", str(public.folder), "--older-than", "0"]) == 0
    assert "0 bytes freed" in capsys.readouterr().out


def test_a_copy_is_whole_or_absent_and_overwrites_nothing(finished, store, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["export", str(store.folder), str(out)]) == 2
    assert "only --public" in capsys.readouterr().err
    held = tmp_path / "held"
    held.mkdir()
    (held / "file").write_text("mine")
    for taken in (held, held / "file", store.folder):
        assert main(["export", "--public", str(store.folder), str(taken)]) == 2
        assert "holds something" in capsys.readouterr().err
    path = next((store.folder / "attacks").iterdir())
    path.write_bytes(b"")
    before = set(tmp_path.iterdir())
    assert main(["export", "--public", str(store.folder), str(out)]) == 2
    assert path.name in capsys.readouterr().err
    assert set(tmp_path.iterdir()) == before
