"""Levels, attacks and measures that are added train only what is missing."""

import pandas as pd
import pytest

from mia_core.training import Trainer
from study.design.work import missing
from study.store import Store
from tests.study.running import AIMED, ARMS, assert_same_results, kept, run, same, table


@pytest.mark.parametrize("arm", ARMS)
def test_nested_levels_give_the_same_bits_as_one_run_for_each_level(make_design, store, tmp_path, arm):
    design = make_design()
    run(design, store, arm)
    for level in (1, 2):
        alone = Store(tmp_path / f"only{level}", "small")
        single = make_design(f"factors.epochs=[{level}]")
        run(single, alone, arm)
        trial = list(single.trajectories.values())[arm][0]
        assert same(kept(store, trial), kept(alone, trial))
        both = table(design, store, "scores").set_index(["trial_id", "attack_id", "query"])
        one = table(single, alone, "scores").set_index(["trial_id", "attack_id", "query"])
        common = both.index.intersection(one.index)
        assert len(common) >= 2 * 80
        pd.testing.assert_frame_equal(both.loc[common], one.loc[common])


@pytest.mark.slow
@pytest.mark.parametrize("arm", ARMS)
def test_a_higher_level_goes_on_from_the_sealed_state_bit_for_bit(make_design, store, tmp_path, monkeypatch, arm):
    run(make_design("attacks=[white_box]"), store, arm)
    longer = make_design("factors.epochs=[1, 2, 4]", "attacks=[white_box]")
    started = []
    original = Trainer.run_to
    monkeypatch.setattr(Trainer, "run_to", lambda self, step: (started.append(self.step), original(self, step))[1])
    run(longer, store, arm)
    steps_of_level_2 = list(longer.trajectories.values())[arm][1].steps
    assert min(started) == steps_of_level_2
    monkeypatch.undo()
    fresh = Store(tmp_path / "fresh", "small")
    run(longer, fresh, arm)
    for trial in list(longer.trajectories.values())[arm]:
        assert same(kept(store, trial), kept(fresh, trial))


@pytest.mark.slow
def test_a_level_in_between_is_added_without_touching_the_others(make_design, store, tmp_path):
    run(make_design("factors.epochs=[1, 4]"), store)
    before = set(store.markers())
    more = make_design("factors.epochs=[1, 2, 4]")
    assert [sealed.trial.epochs for sealed in run(more, store)] == [2]
    assert before < set(store.markers())
    fresh = Store(tmp_path / "fresh", "small")
    run(more, fresh)
    assert_same_results(more, store, fresh)


def test_added_attacks_levels_and_measures_train_nothing_and_equal_a_fresh_run(
    make_design, store, tmp_path, monkeypatch
):
    run(make_design("attacks=[white_box]", "quality.measures=[kid]"), store)
    full = make_design("attacks.local_gan.at=~", "attacks.local_gan.surrogate={name: dcgan, width: 4, latent: 8}")
    fresh = Store(tmp_path / "fresh", "small")
    run(full, fresh)
    monkeypatch.setattr("study.run.trajectory.new_trainer", lambda *a: pytest.fail("nothing may be trained"))
    assert len(run(full, store)) == 2
    assert_same_results(full, store, fresh)


def test_a_finished_trajectory_misses_nothing_and_a_finished_study_neither(make_design, store):
    few = ("factors.train_size=[40]", "factors.defense=[none]", "controls.nulls=0", "controls.copycat=false",
           "controls.blind=false")  # fmt: skip
    design = make_design(*few, "replicates=1")
    assert [len(works) for works in missing(design, store).values()] == [2]
    run(design, store)
    assert missing(design, store) == {}
    assert missing(make_design(*few, "replicates=2"), store).keys() == {
        make_design("replicates=2", "factors.defense=[none]").trials[4].trajectory_id
    }


@pytest.mark.slow
def test_a_higher_level_of_a_target_epsilon_is_a_run_of_its_own(make_design, store, monkeypatch):
    few = (f"factors.defense=[{AIMED}]", "factors.train_size=[40]", "replicates=1", "attacks=[white_box]",
           "controls.nulls=0", "controls.copycat=false", "controls.blind=false")  # fmt: skip
    short, longer = make_design(*few), make_design(*few, "factors.epochs=[1, 2, 4]")
    for trajectory in (0, 1):
        run(short, store, trajectory)
    started = []
    original = Trainer.run_to
    monkeypatch.setattr(Trainer, "run_to", lambda self, step: (started.append(self.step), original(self, step))[1])
    ((work,),) = missing(longer, store).values()
    assert work.trial.epochs == 4
    run(longer, store, 2)
    assert min(started) == 0
    assert missing(longer, store) == {}
