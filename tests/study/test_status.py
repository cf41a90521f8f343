import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from study.design.design_rows import design_rows
from study.outcomes import COMPLETE, INCOMPLETE, REFUSED
from study.run import heartbeat
from study.run.failures import failure
from study.run.status import status
from study.store import Pass, Store
from study.store.exporting import export_public
from study.store.roles import STUDY
from tests.commands import mia_study
from tests.small import SMALL

main = mia_study("status")


def seal(store, trial, attacks=None):
    wanted = trial.attacks if attacks is None else trial.attacks[:attacks]
    Pass(store).seal(trial.trial_id, True, [w.attack_id for w in wanted], [w.measure_id for w in trial.measures])


@pytest.fixture
def design(make_design):
    return make_design()


@pytest.fixture
def begun(design, store):
    """A store that was published, and has nothing."""
    store.publish(design.hash, design.spec.resolved, design_rows(design), {})
    return store


def told(seconds=0.0, **more):
    at = datetime.now(UTC) - timedelta(seconds=seconds)
    state = {"pid": 7, "started_at": at.isoformat(), "at": at.isoformat(), "seconds_left": 90.0, "queued": 3}
    return state | {"running": [{"trajectory_id": "x", "trial": "dcgan n=40", "seconds": 5.0}]} | more


def test_what_is_done_is_counted_by_kind_and_by_level(design, begun):
    first, second = design.trials[:2]
    seal(begun, first)
    seal(begun, second, attacks=1)  # not done: it lacks attacks
    blind = next(trial for trial in design.controls if trial.role == "blind")
    seal(begun, blind)
    found = status(begun)
    attacks = sum(len(trial.attacks) for trial in design.every)
    assert found.counts == {
        "trials": (1, len(design.trials)), "controls": (1, len(design.controls)),
        "attacks": (len(first.attacks) + 2, attacks), "measures": (24, 12 * len(design.trials)),
    }  # fmt: skip
    assert found.levels["train_size"] == {"40": (1, 12), "80": (0, 12)}
    assert found.levels["epochs"] == {"1": (1, 12), "2": (0, 12)}
    assert found.levels["defense"] == {"none": (1, 8), "dropout 0.5": (0, 8), "dp_sgd sigma=1": (0, 8)}
    assert "target" not in found.levels  # one level
    assert [list(found.levels[factor]) for factor in ("train_size", "epochs")] == [["40", "80"], ["1", "2"]]
    assert not found.complete
    assert not found.running


def test_a_complete_study_names_the_next_step_and_exits_0(design, begun, capsys):
    for trial in design.every:
        seal(begun, trial)
    assert main([begun.uri]) == COMPLETE
    shown = capsys.readouterr().out
    assert "complete, not running" in shown
    assert f"mia-study report {begun.uri}" in shown


def test_a_store_without_levels_or_with_a_damaged_marker_is_told_all_the_same(design, store):
    rows = [{key: value for key, value in row.items() if key != "levels"} for row in design_rows(design)]
    store.publish(design.hash, design.spec.resolved, rows, {})
    seal(store, design.trials[0])
    seal(store, design.trials[1])
    (store.folder / "done" / f"{store.passes()[0]}.json").write_text("{")
    found = status(store)
    assert found.levels == {}
    assert found.counts["trials"] == (1, 24)


def test_a_driver_with_the_lock_is_running_whatever_it_told_and_status_takes_nothing_from_it(design, begun):
    with begun.lock():
        assert status(begun).running
        with pytest.raises(ValueError, match="another sweep"), begun.lock():
            pass
    assert not status(begun).running
    with begun.lock():
        pass


def test_what_a_driver_told_is_shown_with_its_age_and_is_stale_once_it_is_old(design, begun, capsys):
    heartbeat.beat(begun, told(10))
    found = status(begun)
    assert found.running  # elsewhere: there is no lock here
    assert found.seconds_left == pytest.approx(80, abs=5)
    assert main([begun.uri]) == INCOMPLETE
    shown = capsys.readouterr().out
    assert "dcgan n=40 (5 s)" in shown
    assert "(process 7)" in shown
    heartbeat.beat(begun, told(heartbeat.STALE_SECONDS + 10))
    old = status(begun)
    assert not old.running
    assert old.seconds_left is None
    assert main([begun.uri]) == INCOMPLETE
    assert "by a driver that did not end in order" in capsys.readouterr().out
    heartbeat.drop(begun)
    assert status(begun).driver is None


ODD_TIME = b'{"at": "2026-01-01T00:00:00+00:00", "seconds_left": %b}'


@pytest.mark.parametrize(
    "torn",
    [
        b"", b'{"at": ', b"[]", b"{}", b'{"at": 3}', b'{"at": "yesterday"}', b'{"at": "2026-01-01T00:00:00"}',
        ODD_TIME % (b"9" * 400), ODD_TIME % b"1e999",
    ],
)  # fmt: skip
def test_a_torn_progress_file_is_passed_over(begun, torn):
    begun.place.write(heartbeat.FILE, torn)
    assert status(begun).driver is None


def test_the_pace_of_seals_gives_the_time_left_where_no_driver_tells_it(design, begun):
    trials = [trial for trial in design.trials if trial.role == STUDY]
    for trial in trials[:4]:
        seal(begun, trial)
    left = len(design.every) - 4
    with begun.lock():
        found = status(begun)
    sealed = sorted(datetime.fromisoformat(marker["sealed_at"]) for marker in begun.markers().values())
    pace = (sealed[-1] - sealed[0]).total_seconds() / 3
    assert found.sealed_at == sealed[-1]
    assert found.seconds_left == pytest.approx(left * pace)


def test_failures_are_named_with_their_error_and_the_command_that_repeats_them(design, begun, capsys):
    trial = design.trials[0]
    begun.save_failure(trial.trajectory_id, failure(design, begun, trial, "OSError: [full]", "Traceback"))
    begun.save_failure("of_another_design", {})
    (found,) = status(begun).failed
    assert found["error"] == "OSError: [full]"
    assert main([begun.uri]) == INCOMPLETE
    shown = capsys.readouterr().out
    assert f"{trial.name}: OSError: [full]" in shown
    assert f"--id {trial.trial_id}" in shown


def test_json_has_the_same_for_scripts(design, begun, capsys):
    seal(begun, design.trials[0])
    assert main([begun.uri, "--json"]) == INCOMPLETE
    found = json.loads(capsys.readouterr().out)
    assert found["counts"]["trials"] == [1, 24]
    assert found["complete"] is False
    assert datetime.fromisoformat(found["sealed_at"]).tzinfo is not None


def test_a_study_file_names_its_store_and_the_command_that_goes_on(design, begun, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SMALL)
    assert main(["small.yaml"]) == INCOMPLETE
    assert "mia-study sweep small.yaml" in capsys.readouterr().out
    assert main(["small.yaml", "--set", "results=elsewhere"]) == REFUSED
    assert main(["results/small", "--set", "replicates=1"]) == REFUSED


@pytest.mark.parametrize("words", [["nowhere/small"], ["/proc/small"], ["nowhere.yaml"]])
def test_what_is_no_study_is_refused_in_one_line(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == REFUSED
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("refused: ")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "x"])
def test_a_watch_needs_seconds(seconds, capsys):
    with pytest.raises(SystemExit) as refused:
        main(["results/small", "--watch", seconds])
    assert refused.value.code == REFUSED


def test_a_watch_ends_when_the_study_is_complete(design, begun, capsys):
    for trial in design.every:
        seal(begun, trial)
    assert main([begun.uri, "--watch", "0.1"]) == COMPLETE
    assert capsys.readouterr().out.count("complete, not running") == 1


def test_status_changes_nothing_and_loads_neither_ray_nor_data(design, begun):
    before = {path: path.stat().st_mtime_ns for path in begun.folder.rglob("*")}
    code = (
        "import sys; from study.cli.main import main; main(['status', *sys.argv[1:]]); "
        "print(sorted({'ray', 'mlflow', 'sklearn', 'opacus', 'torchvision'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, begun.uri], capture_output=True, text=True, env=dict(os.environ), check=True
    )
    assert done.stdout.rstrip().endswith("[]")
    assert {path: path.stat().st_mtime_ns for path in begun.folder.rglob("*")} == before


@pytest.mark.slow
def test_a_public_copy_tells_how_complete_it_is(swept, tmp_path, capsys):
    folder, _ = swept
    export_public(Store(folder / "results", "small"), tmp_path / "public")
    assert main([str(tmp_path / "public")]) == COMPLETE
    assert "complete, a public copy, not running" in capsys.readouterr().out
