"""A trajectory that was interrupted, or whose targets are gone, comes to the bits of one that ran through."""

import pandas as pd
import pytest

from mia_core.training import Trainer
from study.design.work import missing_of
from study.store import Damaged, Store
from study.store.reading import trial_tables
from tests.study.running import AIMED, ARMS, assert_same_results, kept, run, same, table


def crash_after_epoch_4(monkeypatch, design, store, *arm):
    """Run a design whose training is cut off at its fourth epoch."""
    original = Trainer.run_to

    def crash_late(self, step):
        if self.epoch == 4:
            raise KeyboardInterrupt
        original(self, step)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "run_to", crash_late)
        with pytest.raises(KeyboardInterrupt):
            run(design, store, *arm)


def epochs_started(monkeypatch):
    """Epochs at which trainings go on from here, as they do."""
    original, started = Trainer.run_to, []
    monkeypatch.setattr(Trainer, "run_to", lambda self, step: (started.append(self.epoch), original(self, step))[1])
    return started


@pytest.mark.parametrize("arm", ARMS)
def test_a_crash_between_levels_resumes_at_the_checkpoint_with_the_same_bits(
    make_design, store, tmp_path, monkeypatch, arm
):
    design = make_design("factors.epochs=[1, 6]", "compute.checkpoint_seconds=0.000001", "attacks=[white_box]")
    crash_after_epoch_4(monkeypatch, design, store, arm)
    trials = list(design.trajectories.values())[arm]
    assert [work.trial.epochs for work in missing_of(trials, store)] == [6]
    started = epochs_started(monkeypatch)
    run(design, store, arm)
    assert min(started) == 4
    assert not (store.folder / "checkpoints" / trials[0].trajectory_id).exists()
    fresh = Store(tmp_path / "fresh", "small")
    run(design, fresh, arm)
    assert same(kept(store, trials[1]), kept(fresh, trials[1]))
    for s in (store, fresh):
        history = table(design, s, "history")
        assert list(history["epoch"]) == [1, 2, 3, 4, 5, 6]
    assert_same_results(design, store, fresh)


@pytest.mark.slow
def test_a_crash_after_a_level_and_before_a_checkpoint_tells_no_epoch_twice(make_design, store, tmp_path, monkeypatch):
    design = make_design("factors.epochs=[2, 4]", "attacks=[white_box]")
    original = Trainer.run_to

    def crash_late(self, step):
        if self.epoch == 3:
            raise KeyboardInterrupt
        original(self, step)

    private = 2
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "run_to", crash_late)
        with pytest.raises(KeyboardInterrupt):
            run(design, store, private)
    run(design, store, private)
    fresh = Store(tmp_path / "fresh", "small")
    run(design, fresh, private)
    for trial in list(design.trajectories.values())[private]:
        (first, second) = (trial_tables(s, trial.trial_id, ["history"])[1]["history"] for s in (store, fresh))
        assert list(first["epoch"]) == [trial.epochs - 1, trial.epochs]
        pd.testing.assert_frame_equal(first.drop(columns="seconds"), second.drop(columns="seconds"))


@pytest.mark.slow
def test_checkpoints_go_by_the_clock_however_close_the_levels_are(make_design, store, monkeypatch):
    design = make_design("factors.epochs=[1, 2, 3, 4, 5, 6, 7]", "attacks=[random]", "compute.checkpoint_seconds=25")
    clock, saved = [0.0], []
    original = Trainer.run_to

    def slow(self, step):
        clock[0] += 10
        original(self, step)

    monkeypatch.setattr(Trainer, "run_to", slow)
    monkeypatch.setattr("study.run.trajectory.time.perf_counter", lambda: clock[0])
    monkeypatch.setattr(Store, "save_checkpoint", lambda self, name, tensors, state: saved.append(state["step"]))
    run(design, store)
    assert saved == [8, 15]


@pytest.mark.slow
def test_an_interrupted_target_epsilon_resumes_at_its_checkpoint_with_the_same_bits_and_account(
    make_design, store, tmp_path, monkeypatch
):
    design = make_design(
        f"factors.defense=[{AIMED}]", "factors.epochs=[6]", "compute.checkpoint_seconds=0.000001", "attacks=[white_box]"
    )
    crash_after_epoch_4(monkeypatch, design, store)
    started = epochs_started(monkeypatch)
    run(design, store)
    assert min(started) == 4
    fresh = Store(tmp_path / "fresh", "small")
    run(design, fresh)
    assert same(kept(store, design.trials[0]), kept(fresh, design.trials[0]))
    assert_same_results(design, store, fresh)


@pytest.mark.long
def test_targets_that_were_not_kept_are_trained_again_to_the_same_bits_under_the_same_key(make_design, store, tmp_path):
    run(make_design("keep_targets=none", "attacks=[white_box]"), store)
    assert not (store.folder / "targets").exists()
    design = make_design("keep_targets=none")
    first = missing_of(next(iter(design.trajectories.values())), store)
    assert all(work.retrain and not work.train for work in first)
    run(design, store)
    fresh = Store(tmp_path / "fresh", "small")
    run(design, fresh)
    assert_same_results(design, store, fresh)


def test_a_damaged_target_is_refused_and_never_attacked(make_design, store):
    run(make_design("attacks=[white_box]"), store)
    design = make_design()
    (path,) = (store.folder / "targets").glob(f"{design.trials[0].trial_id}-*.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(Damaged, match=f"{path.name}.* changed since it was sealed"):
        run(design, store)
