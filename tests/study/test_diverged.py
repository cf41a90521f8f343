"""Trainings that diverge are results, whose attacks are skipped."""

import pytest
import torch

from mia_core.targets.dcgan import DCGAN
from mia_core.training import Trainer
from study.design.work import missing
from study.tracking.run_content import run_content
from study.verdicts.controls import verdicts as controls_of
from tests.commands import mia_study
from tests.study.running import run, table

WILD = ("training.learning_rate=1e30", "factors.defense=[none]", "factors.train_size=[40]")


@pytest.mark.parametrize("period", [60, 0.000001])
def test_a_training_that_diverges_is_a_result_whose_attacks_are_skipped_and_that_is_never_run_again(
    make_design, store, period
):
    design = make_design(*WILD, "replicates=1", f"compute.checkpoint_seconds={period:f}")
    for trajectory in range(len(design.trajectories)):
        run(design, store, trajectory)
    assert not missing(design, store)
    trials, attacks, quality = (table(design, store, name) for name in ("trials", "attacks", "quality"))
    own = trials[trials["role"].isin(["study", "null"])]
    assert set(own["flags"]) == {"diverged"} and set(own["epochs"]) == {1, 2}
    theirs = attacks[attacks["trial_id"].isin(own["trial_id"])]
    assert len(theirs) and theirs["auc"].isna().all()
    assert theirs["skipped"].str.startswith("the training diverged").all()
    assert len(quality) == 12 * 2 and quality["value"].isna().all()
    assert table(design, store, "scores")["trial_id"].isin(own["trial_id"]).sum() == 0
    assert mia_study("store check")([str(store.folder)]) == 0
    controls = controls_of(store.root, "small").set_index("control")["verdict"]
    assert controls["null"] == "not judged: its training diverged"
    content = run_content(store, own["trial_id"].iloc[0], include_records=True)
    assert content.tags["flags"] == "diverged" and not content.metrics


def test_what_is_added_to_a_training_that_diverged_trains_nothing_even_if_no_target_is_kept(
    make_design, store, monkeypatch
):
    few = (*WILD, "replicates=1", "keep_targets=none", "controls={blind: false, nulls: 0, copycat: false}")
    run(make_design(*few, "attacks=[white_box]", "factors.epochs=[1]"), store)
    monkeypatch.setattr(Trainer, "run_to", lambda trainer, step: pytest.fail("it is trained again"))
    design = make_design(*few)  # one more attack, one more level
    assert not any(work.retrain for works in missing(design, store).values() for work in works)
    run(design, store)
    assert not missing(design, store)
    rows = table(design, store, "trials").set_index("epochs")
    assert list(rows["flags"]) == ["diverged"] * 2
    assert rows.loc[2, "steps"] > rows.loc[1, "steps"]


def test_a_training_of_finite_weights_whose_loss_is_not_finite_diverged_too(make_design, store, monkeypatch):
    count = Trainer.count

    def odd(trainer, values, started):
        return count(trainer, {**values, "loss_generator": torch.tensor(float("nan"))}, started)

    monkeypatch.setattr(Trainer, "count", odd)
    design = make_design("factors.epochs=[1]", "attacks=[white_box]", "quality.measures=[]")
    run(design, store)
    assert set(table(design, store, "trials")["flags"]) == {"diverged"}
    assert "loss_generator" not in table(design, store, "history").dropna(axis=1)


def test_a_training_whose_weights_are_not_finite_diverged_though_its_losses_are(make_design, store, monkeypatch):
    count = Trainer.count

    def odd(trainer, values, started):
        if trainer.step == 2:  # the last
            next(trainer.target.generator.parameters()).data.fill_(float("inf"))
        return count(trainer, values, started)

    monkeypatch.setattr(Trainer, "count", odd)
    few = ("factors.epochs=[1]", "factors.train_size=[40]", "factors.defense=[none]", "quality.measures=[]")
    monkeypatch.setattr("study.run.runner.GRID", 0)  # no sample tells
    design = make_design(*few, "attacks=[white_box]")
    run(design, store)
    assert set(table(design, store, "trials")["flags"]) == {"diverged"}
    assert "loss_generator" in table(design, store, "history").dropna(axis=1)


def test_a_training_whose_first_samples_are_not_finite_diverged(make_design, store, monkeypatch):
    plain = DCGAN.generate
    monkeypatch.setattr(
        DCGAN, "generate", lambda target, z: plain(target, z) * (1 if target.training else float("nan"))
    )
    design = make_design("factors.epochs=[1]", "attacks=[white_box]", "quality.measures=[]")
    run(design, store)
    assert set(table(design, store, "trials")["flags"]) == {"diverged"}
    assert store.done()[table(design, store, "trials")["trial_id"].iloc[0]].kept
