"""Trainings at once are the trainings one by one."""

import copy

import numpy as np
import pytest
import torch

from mia_core import training
from mia_core.data.pool import to_float
from mia_core.defenses import Arm
from mia_core.models import Snapshot
from mia_core.streams import Streams
from mia_core.targets import TARGETS, Adversarial
from mia_core.together import refusal, run_together
from mia_core.training import Trainer, TrainingConfig
from mia_core.training_records import Contrast, Records
from tests.mia_core.contract import scores_of

COUNT = 2
TARGETS_AT_ONCE = {
    "dcgan": {"width": 4},
    "dcgan batch": {"width": 4, "norm": "batch"},
    "dcgan authors": {"width": 4, "networks": "authors"},
    "began": {"width": 2, "balance_rate": 0.2},
    "vae_gan": {"width": 4},
    "vae_gan batch": {"width": 4, "norm": "batch"},
    "wgan_gp": {"width": 4},
    "wgan_gp none": {"width": 4, "norm": "none"},
    "vae": {"width": 4},
    "ddpm": {"width": 4, "multipliers": [1, 2], "attention": 8, "timesteps": 40, "sampling_steps": 4},
}
every_target = pytest.mark.parametrize("target", TARGETS_AT_ONCE)


def images(seed, count=12):
    return np.random.default_rng(seed).integers(0, 256, (count, 1, 16, 16), dtype=np.uint8)


def make(target="dcgan", seed=0, arm="none", contrast=None, learning_rate=2e-4, **training):
    latent = {} if target == "ddpm" else {"latent": 4}
    built = TARGETS.choose({"name": target.split()[0], **latent, **TARGETS_AT_ONCE[target]}).build((1, 16, 16))
    steps = {"generator_every": 2} if isinstance(built, Adversarial) else {}
    config = TrainingConfig(**{"batch_size": 4, "learning_rate": learning_rate, **steps, **training})
    return Trainer(built, Records(images(seed), 12, contrast=contrast), config, Arm.parse(arm), Streams(seed))


def each_and_together(**given):
    """Trainings to step 5, one by one and at once; at once in two goes, which an epoch does not end."""
    one_by_one, at_once = ([make(seed=seed, **given) for seed in range(COUNT)] for _ in range(2))
    for trainer in one_by_one:
        trainer.run_to(5)
    for step in (4, 5):
        run_together(at_once, step)
    return zip(one_by_one, at_once, strict=True)


@pytest.fixture
def in_double(monkeypatch):
    """Rounding is far below what Adam, which divides by a gradient's size, could make of it."""
    monkeypatch.setattr(training, "to_float", lambda x: to_float(x).double())
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of weight norm under vmap
@pytest.mark.parametrize("arm", ["none", "weight_norm"])
@every_target
def test_weights_optimizers_and_history_are_those_of_each_training_alone(in_double, target, arm):
    if arm == "weight_norm" and target in ("vae", "ddpm"):
        return  # no discriminator
    for alone, packed in each_and_together(target=target, arm=arm):
        (tensors, rest), (others, other_rest) = alone.state(), packed.state()
        assert tensors.keys() == others.keys()
        for name, value in tensors.items():
            torch.testing.assert_close(others[name], value, rtol=1e-7, atol=1e-9, msg=name)
        assert len(rest["history"]) == len(other_rest["history"]) == 1
        for row, other in zip(rest["history"], other_rest["history"], strict=True):
            assert other["means"] == pytest.approx(row["means"], rel=1e-7, abs=1e-9)
            assert other["seconds"] > 0


@pytest.mark.parametrize("share", [0.5, 1.0])
@pytest.mark.parametrize("target", ["dcgan", "began", "vae_gan", "wgan_gp"])
def test_surrogates_at_once_have_their_own_contrast(in_double, target, share):
    if target == "began" and share == 1:
        return  # a discriminator alone is no BEGAN
    for alone, packed in each_and_together(target=target, contrast=Contrast(images(77, 9), share)):
        for name, value in alone.state().tensors.items():
            torch.testing.assert_close(packed.state().tensors[name], value, rtol=1e-7, atol=1e-9, msg=name)


@every_target
def test_in_single_precision_samples_and_scores_are_those_of_each_training_nearly(target):
    # A bias before a batch norm has a gradient of rounding alone, of which Adam and RMSprop make whole steps. Losses do
    # not depend on it; running means, which follow it with a delay, do by up to the learning rate times the steps times
    # RMSprop's 10: 0.016.
    queries = to_float(torch.from_numpy(images(5)))
    for alone, packed in each_and_together(target=target):
        found = [Snapshot(trainer.target, Streams(1)) for trainer in (alone, packed)]
        one, other = (torch.cat([scores_of(s, queries), s.samples(5).flatten()]) for s in found)
        torch.testing.assert_close(other, one, rtol=0.02, atol=0.02 if "batch" in target else 1e-3)


def test_a_training_goes_on_alone_after_one_at_once(in_double):
    for alone, packed in each_and_together():
        for trainer in (alone, packed):
            assert not trainer.target.training
            trainer.run_to(7)
        for name, value in alone.state().tensors.items():
            torch.testing.assert_close(packed.state().tensors[name], value, rtol=1e-7, atol=1e-9, msg=name)


DP = {"name": "dp_sgd", "sigma": 1.0, "clip": 1.0, "delta": 1e-3}


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        ({}, {"target": "dcgan batch"}, "different targets"),
        ({}, {"target": "began"}, "different targets"),
        ({}, {"learning_rate": 1e-3}, "different training settings"),
        ({}, {"arm": "weight_norm"}, "different arms"),
        ({}, {"contrast": Contrast(images(1))}, "different contrasts"),
        ({"arm": DP}, {"arm": DP}, "dp_sgd sigma=1 clips each record's gradient"),
        ({"arm": "dropout"}, {"arm": "dropout"}, "layers with random numbers"),
        ({"arm": {"name": "real_weight", "weight": 0.1}},) * 2 + ("a rule of its own",),
        ({"arm": "augmentation"}, {"arm": "augmentation"}, "augmentation changes inputs or weights"),
        ({"precision": "bfloat16"}, {"precision": "bfloat16"}, "bfloat16"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_trainings_that_cannot_be_done_at_once_are_refused_with_the_reason_and_not_begun(one, other, reason):
    trainers = [make(seed=0, **one), make(seed=1, **other)]
    before = [copy.deepcopy(trainer.target.state_dict()) for trainer in trainers]
    with pytest.raises(ValueError, match=reason):
        run_together(trainers, 2)
    for trainer, weights in zip(trainers, before, strict=True):
        assert trainer.step == 0
        assert all(torch.equal(value, weights[name]) for name, value in trainer.target.state_dict().items())


def test_trainings_of_different_steps_are_refused():
    trainers = [make(seed=0), make(seed=1)]
    trainers[1].run_to(1)
    assert refusal(trainers) == "trainings of different steps done cannot be done at once"
