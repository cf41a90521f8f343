"""Levels that count steps, inside of epochs too."""

import pytest

from study.design.design_rows import design_rows
from study.store import Store
from study.tracking.run_content import run_content
from study.verdicts.claims import verdicts
from tests.study.running import ARMS, kept, run, same, table


def steps_design(make_design, *overrides):
    """Of epochs of 3 steps: levels inside of one, at its end, and two in another."""
    arms = "[none, {name: dropout, rate: 0.5}, {name: dp_sgd, sigma: 1.0, clip: 1.0, delta: 1e-5}]"
    factors = f"factors={{train_size: [40], steps: [2, 3, 7, 8], defense: {arms}}}"
    return make_design(factors, "attacks=[white_box]", "quality.measures=[]", *overrides)


@pytest.mark.slow
@pytest.mark.parametrize("arm", ARMS)
def test_levels_of_steps_inside_of_epochs_give_the_same_bits_as_one_run_each(make_design, store, tmp_path, arm):
    design = steps_design(make_design)
    assert [sealed.trial.steps for sealed in run(design, store, arm)] == [2, 3, 7, 8]
    for level in (2, 3, 7, 8):
        alone = Store(tmp_path / f"only{level}", "small")
        single = steps_design(make_design, f"factors.steps=[{level}]")
        run(single, alone, arm)
        (trial,) = list(single.trajectories.values())[arm]
        assert same(kept(store, trial), kept(alone, trial))


@pytest.mark.slow
@pytest.mark.parametrize("arm", ARMS)
def test_a_level_of_steps_added_later_goes_on_inside_of_an_epoch_and_tells_each_epoch_once(
    make_design, store, tmp_path, arm
):
    run(steps_design(make_design, "factors.steps=[2, 7]"), store, arm)
    design = steps_design(make_design)
    run(design, store, arm)
    fresh = Store(tmp_path / "fresh", "small")
    run(design, fresh, arm)
    for trial in list(design.trajectories.values())[arm]:
        assert same(kept(store, trial), kept(fresh, trial))
    rows = table(design, fresh, "trials")
    assert list(rows["steps"]) == [2, 3, 7, 8]
    assert rows["epochs"].fillna(0).tolist() == [0, 1, 0, 3], "null inside of an epoch"
    history = table(design, fresh, "history").sort_values("epoch")
    assert list(history["step"]) == [3, 5, 8]
    assert history["epsilon"].notna().tolist() == [arm == 2, False, arm == 2], "of a level, where it ends an epoch"


@pytest.mark.slow
def test_a_study_of_steps_is_audited_at_its_last_level_and_logged(make_design, store):
    private = 2
    design = steps_design(make_design, "replicates=1", "split.filler=fixed")
    run(design, store, private)
    store.publish(design.hash, design.spec.resolved, design_rows(design), {})
    (row,) = verdicts(store.folder.parent, "small").to_dict("records")
    assert row["epsilon"] == pytest.approx(design.epsilon(design.trials[-1]))
    assert row["verdict"] == "not contradicted"
    inside, ending = (run_content(store, trial.trial_id, False) for trial in design.trials[-4:-2])
    assert (inside.step, ending.step) == (2, 3)
    assert "steps=2" in inside.name
    assert "steps=3" in ending.name
    assert "epochs" not in inside.params


def test_steps_and_epochs_that_are_the_same_updates_are_the_same_trials(make_design):
    epochs, steps = make_design("factors.train_size=[40]"), steps_design(make_design, "factors.steps=[3, 5]")
    named = {(t.cell.arm.label, t.steps, t.replicate): t.trial_id for t in epochs.trials}
    assert named == {(t.cell.arm.label, t.steps, t.replicate): t.trial_id for t in steps.trials}
    assert [t.epochs for t in steps.trials[:2]] == [1, 2]
    assert "steps=3" in steps.trials[0].name
