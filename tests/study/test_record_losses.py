"""Trials of targets with a loss of their own for each record: what their rows say, and how their steps are planned."""

import numpy as np
import pytest
import torch

from mia_core.data.pool import to_float
from mia_core.defenses import Arm
from mia_core.settings import Choice
from mia_core.streams import Streams
from mia_core.targets import TARGETS
from mia_core.training import TrainingConfig
from study.plan.cost import step_cost
from study.plan.shapes import activations, parameters
from tests.study.running import run, table

DDPM = "{name: ddpm, width: 4, multipliers: [1, 1], timesteps: 30, sampling_steps: 3}"
VAE = "{name: vae, width: 4, latent: 8}"
FEW = (
    "target=~", "attacks=[random]", "quality.measures=[kid]", "quality.against=[unseen]", "replicates=1",
    "factors.train_size=[40]", "controls={nulls: 0, blind: false}",
)  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("target", [DDPM, VAE], ids=["ddpm", "vae"])
def test_rows_have_the_mean_losses_of_judged_members_and_of_unseen_records(make_design, store, target):
    arms = "factors.defense=[none, {name: dp_sgd, sigma: 1.0, clip: 1.0, delta: 1.0e-5}]"
    design = make_design(*FEW, f"factors.target=[{target}]", arms)
    for number in range(2):
        run(design, store, number)
    rows = table(design, store, "trials").set_index("trial_id")
    assert len(rows) == 4
    for trial in design.trials:
        network = trial.cell.target.build(design.pool.image_shape)
        network.load_state_dict(store.sealed_tensors(f"targets/{trial.trial_id}", trial.trial_id)[0])
        membership = design.membership(trial)
        members = membership.queries[membership.member & np.isin(membership.queries, design.split.judged)]
        rng = Streams("record_losses", design.spec.seed, trial.replicate)
        for column, records in (("loss_members", members), ("loss_unseen", design.split.unseen)):
            images = to_float(torch.from_numpy(design.pool.images[records]))
            expected = float(network.eval().mean_losses(images, rng).mean())
            assert rows.loc[trial.trial_id, column] == pytest.approx(expected, rel=1e-4)
        assert rows.loc[trial.trial_id, "generator_steps"] == rows.loc[trial.trial_id, "steps"]


def test_a_target_with_a_discriminator_and_a_control_have_none(make_design, store):
    design = make_design(*FEW, "factors.target=[{name: dcgan, width: 4, latent: 8}]", "factors.defense=[none]")
    run(design, store)
    assert table(design, store, "trials")[["loss_members", "loss_unseen"]].isna().all(axis=None)


def choice(**settings) -> Choice:
    return TARGETS.choose(settings)


@pytest.mark.parametrize("name", ["vae", "ddpm"])
def test_a_step_is_planned_by_its_records_their_draws_and_the_width(name):
    training, shape = TrainingConfig(batch_size=8), (1, 16, 16)
    private = {"name": "dp_sgd", "sigma": 1.0, "clip": 1.0, "delta": 1e-5}

    def cost(arm="none", width=4):
        return step_cost(choice(name=name, width=width), training, Arm.parse(arm), shape)

    assert 0 < cost() < cost(private)
    assert cost({**private, "noise_draws": 4}) == pytest.approx(4 * cost(private))
    assert 2 * cost() < cost(width=8)
    wide, narrow = (choice(name=name, width=width) for width in (8, 4))
    assert activations(wide, Arm(), shape) > 1.5 * activations(narrow, Arm(), shape)
    assert parameters(wide, Arm(), shape) > 2 * parameters(narrow, Arm(), shape)
