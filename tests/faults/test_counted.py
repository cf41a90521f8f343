"""What the soak puts in place of parts of the study is in the place of something, without the minutes of the soak; and
what its sweeps print holds none of them up.
"""

import os
import time

import pytest

from mia_core.attacks import Euclidean
from mia_core.training import Trainer
from study.run import runner, trial_row
from study.store import files
from tests.faults import counted
from tests.faults.faulty import Sweep


@pytest.fixture
def restored(monkeypatch):
    """All that a watched trajectory replaces is back after the test."""
    for owner, name in (
        (Euclidean, "run"),
        (runner, "peak_bytes"),
        (trial_row, "peak_bytes"),
        (trial_row, "device_name"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))


@pytest.mark.parametrize("memory", [0.5, 0.25])
def test_a_watched_trajectory_replaces_what_trains_attacks_and_measures_memory(memory, restored, tmp_path, monkeypatch):
    before, seen = Trainer.batch, []
    monkeypatch.setattr(counted, "lines", str(tmp_path / "steps"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(counted, "total", 100)
    monkeypatch.setattr(counted, "peak", 40)
    monkeypatch.setattr(counted, "text", "an attack that raises")
    monkeypatch.setattr(counted, "plain", lambda *arguments: seen.append((Trainer.batch, Euclidean.run)))
    counted.run_trajectory({"trajectory": "x", "gpus": 0.5, "memory": memory}, [], "", {})
    ((batch, attack),) = seen
    assert batch.__name__ == ("counted" if memory == 0.5 else "short")
    assert attack.__name__ == "broken"
    assert trial_row.device_name("cpu") == "made up"
    assert trial_row.peak_bytes("cpu") == runner.peak_bytes("cpu") == 40
    assert Trainer.batch is before
    assert (tmp_path / "steps.devices").read_text() == "x start  0.5\nx end  0.5\n"


def test_the_checkpoints_of_a_watched_trajectory_are_as_slow_as_a_disk_may_be(tmp_path, monkeypatch):
    before, waited, there = os.fsync, [], tmp_path / "in"
    monkeypatch.setattr(counted, "lines", str(tmp_path / "steps"))
    monkeypatch.setattr(counted, "sync_pause", 7.0)
    monkeypatch.setattr(
        time, "sleep", lambda seconds: waited.append((seconds, [path.name for path in there.iterdir()]))
    )
    monkeypatch.setattr(counted, "plain", lambda *arguments: files.write(there / "x", b"content"))
    counted.run_trajectory({"trajectory": "x", "gpus": 0, "memory": 1}, [], "", {})
    (seconds, (temporary,)), (_, whole) = waited
    assert seconds == 7
    assert temporary.startswith(".x.")
    assert whole == ["x"]
    assert os.fsync is before


def test_what_is_not_there_is_not_replaced():
    with pytest.raises(AssertionError, match="has no _batch to be replaced"):
        counted.replace(Trainer, "_batch", None)


def test_a_sweep_that_prints_more_than_a_pipe_holds_goes_on_though_nobody_reads_yet(tmp_path):
    line, lines = "an error of a worker that was killed", 20_000
    printing = f"yes '{line}' | head -n {lines} | tee /dev/stderr"
    with Sweep(tmp_path, within=("sh", "-c", printing)) as sweep:
        sweep.process.wait(60)
        assert sweep.end(0) == (f"{line}\n" * lines,) * 2
