"""Rows of trials, attacks, scores and histories say what ran."""

import pandas as pd
import pytest

from analysis.stats.guarantees import guarantees
from analysis.study_data import load
from study.design.work import missing
from study.store import compact
from tests.study.running import AIMED, run, table


@pytest.mark.long
def test_rows_say_what_ran(make_design, store):
    design = make_design()
    for trajectory in range(6):
        run(design, store, trajectory)
    compact(store)
    wide = table(design, store, "wide")
    assert len(wide) == 6 * (2 + 4)
    assert set(wide["defense"]) == {"none", "dropout", "dp_sgd"}
    none, dropout, private = (wide[wide["defense"] == name].iloc[0] for name in ("none", "dropout", "dp_sgd"))
    assert none["strength"] == 0
    assert dropout["strength"] == dropout["rate"] == 0.5
    assert private["sigma"] == 1.0
    assert private["epsilon"] > 1
    assert private["delta"] == 1e-5
    assert pd.isna(none["epsilon"])
    assert pd.isna(dropout["epsilon"])
    assert set(wide.loc[wide["train_size"] == 80, "steps"]) == {5, 10}
    assert (wide["members"] >= wide["train_size"]).all()
    assert wide["tpr_at_1pct_fpr"].isna().all()
    assert wide.loc[wide["attack"] == "local_gan_steps4", "attack_steps"].eq(4).all()
    scores = table(design, store, "scores")
    assert len(scores) == len(wide) * 80
    assert scores["judged"].eq(scores["query"].isin(design.split.panel)).all()
    for (trial, attack), part in scores.groupby(["trial_id", "attack_id"]):
        row = wide[(wide["trial_id"] == trial) & (wide["attack_id"] == attack)].iloc[0]
        assert row["auc"] == pytest.approx(auc_of(part[part["judged"]]))
        assert row["auc_all"] == pytest.approx(auc_of(part))


def auc_of(rows):
    """Share of pairs in the right order."""
    inside, outside = rows.loc[rows["member"], "score"], rows.loc[~rows["member"], "score"]
    wins = sum((a > outside).sum() + 0.5 * (a == outside).sum() for a in inside)
    return wins / len(inside) / len(outside)


@pytest.mark.slow
def test_rows_of_private_arms_have_what_the_trainer_spent_and_it_is_what_the_plan_foretold(make_design, store):
    clip_only = "{name: dp_sgd, sigma: 0.0, clip: 1.0, delta: 1e-5}"
    sigma = "{name: dp_sgd, sigma: 1.0, clip: 1.0, delta: 1e-5}"
    design = make_design(
        f"factors.defense=[{AIMED}, {sigma}, {clip_only}]", "factors.train_size=[40]", "attacks=[white_box]",
        "replicates=1", "controls.nulls=0",
    )  # fmt: skip
    for trajectory in range(len(design.trajectories)):
        run(design, store, trajectory)
    assert missing(design, store) == {}
    rows = table(design, store, "trials").set_index("trial_id")
    history = table(design, store, "history").set_index(["trajectory_id", "step"])
    for trial in design.trials:
        row, label = rows.loc[trial.trial_id], trial.cell.arm.label
        if label == "dp_sgd sigma=0":
            assert row[["epsilon", "delta", "target_epsilon"]].isna().all()
            assert row["sigma"] == 0
            continue
        assert row["epsilon"] == history.loc[(trial.trajectory_id, trial.steps), "epsilon"] == design.epsilon(trial)
        assert row["sigma"] == design.sigma(trial)
        assert row["delta"] == 1e-5
        assert row["strength"] == (20 if label == "dp_sgd epsilon=20" else 1)
        assert pd.isna(row["target_epsilon"]) == (label == "dp_sgd sigma=1")
    aimed = rows[rows["target_epsilon"] == 20].sort_values("epochs")
    assert aimed["epochs"].tolist() == [1, 2]
    assert aimed["sigma"].is_monotonic_increasing
    assert aimed["trajectory_id"].nunique() == 2
    shown = load(store.folder)
    assert shown.arms == ["dp_sgd sigma=0", "dp_sgd sigma=1", "dp_sgd epsilon=20"]
    assert set(guarantees(shown)["arm"]) == {"dp_sgd sigma=1", "dp_sgd epsilon=20"}


@pytest.mark.parametrize(
    ("target", "own"),
    [("began", {"convergence", "balance"}), ("vae_gan", {"loss_encoder"}), ("wgan_gp", {"penalty"}), ("dcgan", set())],
)
def test_history_has_the_columns_of_its_target(make_design, store, target, own):
    design = make_design(
        f"target={{name: {target}, width: 2, latent: 4}}", "attacks=[random]", "factors.defense=[none]"
    )
    run(design, store)
    history = table(design, store, "history")
    base = {"trajectory_id", "epoch", "step", "loss_generator", "loss_discriminator", "d_real", "d_fake", "epsilon"}
    assert set(history.columns) == base | own
    assert list(history["epoch"]) == [1, 2]
    assert history[sorted(own | {"loss_generator", "d_real"})].notna().all(axis=None)
    assert set(table(design, store, "trials")["target"]) == {target}


@pytest.mark.slow
def test_a_study_of_several_targets_keeps_each_ones_columns(make_design, store):
    levels = ", ".join(f"{{name: {name}, width: 2, latent: 4}}" for name in ("dcgan", "began", "vae_gan"))
    design = make_design(
        "target=~", f"factors.target=[{levels}]", "attacks=[random, white_box]", "factors.train_size=[40]",
        "factors.defense=[none, {name: dp_sgd, sigma: 1.0, clip: 1.0, delta: 1e-5}]",
        "replicates=1", "controls.nulls=0",
    )  # fmt: skip
    for trajectory in range(len(design.trajectories)):
        run(design, store, trajectory)
    assert missing(design, store) == {}
    trials = table(design, store, "trials").set_index("trajectory_id")
    history = table(design, store, "history").join(trials["target"].groupby(level=0).first(), on="trajectory_id")
    found = history.groupby("target")[["convergence", "balance", "loss_encoder"]].count()
    assert found.loc["began"].tolist() == [2, 2, 0]
    assert found.loc["vae_gan"].tolist()[:2] == [0, 0]
    assert found.loc["dcgan"].tolist() == [0, 0, 0]
    private = history[history["trajectory_id"].isin(trials.index[trials["defense"] == "dp_sgd"])]
    assert set(private["target"]) == {"dcgan", "vae_gan"}
