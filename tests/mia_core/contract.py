"""The tables of what every target, arm and attack promises; a new one adds one row here. And one of each, trained."""

import copy
import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from mia_core.access import Access
from mia_core.attacks import ATTACKS, Knowledge
from mia_core.data.pool import to_float
from mia_core.defenses import Arm
from mia_core.models import Snapshot
from mia_core.streams import Streams
from mia_core.targets import DCGAN, TARGETS, Adversarial
from mia_core.training import Trainer, TrainingConfig
from mia_core.training_records import Records

# The tables

TARGET_TABLE: dict[str, dict[str, Any]] = {
    "dcgan": {"name": "dcgan", "width": 4, "latent": 4},
    "dcgan 16 batch": {"name": "dcgan", "width": 4, "latent": 4, "norm": "batch", "size": 16},
    "dcgan 16 authors": {"name": "dcgan", "width": 4, "latent": 4, "networks": "authors", "size": 16},
    "began": {"name": "began", "width": 2, "latent": 4, "balance_rate": 0.2},
    "began 16": {"name": "began", "width": 2, "latent": 4, "balance_rate": 0.2, "size": 16},
    "vae_gan": {"name": "vae_gan", "width": 4, "latent": 4},
    "vae_gan 16 batch": {"name": "vae_gan", "width": 4, "latent": 4, "norm": "batch", "size": 16},
    "wgan_gp": {"name": "wgan_gp", "width": 4, "latent": 4},
    "wgan_gp 16 authors": {"name": "wgan_gp", "width": 4, "latent": 4, "networks": "authors", "size": 16},
    "wgan_gp 16 none": {"name": "wgan_gp", "width": 4, "latent": 4, "norm": "none", "size": 16},
    "vae": {"name": "vae", "width": 4, "latent": 4},
    "vae 16 bernoulli": {"name": "vae", "width": 4, "latent": 4, "norm": "none", "likelihood": "bernoulli", "size": 16},
    "ddpm": {"name": "ddpm", "width": 4, "multipliers": [1, 2], "attention": 4, "timesteps": 40, "sampling_steps": 5},
    "ddpm 16 random": {
        "name": "ddpm",
        "width": 4,
        "multipliers": [1, 1],
        "blocks": 2,
        "schedule": "cosine",
        "timesteps": 30,
        "sampler": "ddpm",
        "size": 16,
    },
}
"""Settings, and the size of the images where it is not 8."""

ADVERSARIAL = [name for name in TARGETS.names() if issubclass(TARGETS.find(name), Adversarial)]
"""Targets with a discriminator, by name."""

PRIVATE = {"name": "dp_sgd", "sigma": 0.5, "clip": 1.0, "delta": 1e-3}
NOISE = {"name": "noise_layer", "sigma": 0.3}
ARM_TABLE: dict[str, Any] = {
    "none": "none",
    "dropout": "dropout",
    "weight_norm": "weight_norm",
    "noise_layer": NOISE,
    "real_weight": {"name": "real_weight", "weight": 0.1},
    "augmentation": {"name": "augmentation", "crop": 2},
    "dropout+weight_norm+noise_layer": ["dropout", "weight_norm", NOISE],
    "dp_sgd": PRIVATE,
    "clip only": {**PRIVATE, "sigma": 0.0},
    "dp_sgd 2 draws+augmentation": [{**PRIVATE, "noise_draws": 2}, "augmentation"],
    "dp_sgd+dropout": [PRIVATE, "dropout"],
    "dp_sgd+weight_norm": [PRIVATE, "weight_norm"],
    "dp_sgd+noise_layer": [PRIVATE, NOISE],
    "all": [NOISE, "weight_norm", PRIVATE, "dropout"],
}

REFUSALS = {  # of a defense, or of one arm, by a target
    ("dp_sgd", "began"): "dp_sgd does not cover the balance k of began, which no gradient carries",
    ("dp_sgd", "began 16"): "dp_sgd does not cover the balance k of began, which no gradient carries",
    ("dp_sgd", "dcgan 16 batch"): ("dp_sgd needs a discriminator without batch norm; set target.norm to group or none"),
    ("dp_sgd", "vae_gan 16 batch"): (
        "dp_sgd needs a discriminator without batch norm; set target.norm to group or none"
    ),
    **{
        ("dp_sgd 2 draws+augmentation", target): (
            "dp_sgd.noise_draws: dcgan draws no random numbers for a record; leave it out"
        )
        for target in ("dcgan", "dcgan 16 authors")
    },
    **{
        (defense, target): f"{defense} needs a discriminator, and {target.split()[0]} has none"
        for target in TARGET_TABLE
        if target.split()[0] in ("vae", "ddpm")
        for defense in ("dropout", "weight_norm", "noise_layer")
    },
}


@dataclass(frozen=True)
class Row:
    """What the attack should declare. draws: samples. random: whether scores depend on rng. ties: among queries.

    target: one that offers what the attack uses.
    """

    spec: dict[str, Any]
    uses: frozenset[str]
    access: Access
    draws: int
    levels: tuple[int | None, ...] = (None,)
    needs: frozenset[str] = frozenset()
    known: int = 0
    random: bool = False
    ties: bool = False
    target: str = "dcgan"

    @property
    def name(self) -> str:
        return self.spec["name"]


SURROGATES = {
    "dcgan": {"name": "dcgan", "width": 2, "latent": 3, "norm": "batch"},
    "began": {"name": "began", "width": 3, "latent": 3, "balance_rate": 1.0, "diversity": 1.0},
    "vae_gan": {"name": "vae_gan", "width": 2, "latent": 3, "norm": "none"},
    "wgan_gp": {"name": "wgan_gp", "width": 2, "latent": 3, "norm": "none", "penalty_weight": 1.0},
}
"""The attacker's own, of other settings than any target above."""

NOTHING: frozenset[str] = frozenset()
SAMPLES = frozenset({"samples"}), Access.SAMPLES
REFERENCE = frozenset({"reference"})

DENOISE = frozenset({"denoise"}), Access.GENERATOR
GRADIENTS = frozenset({"gradients"}), Access.WHITE_BOX

SIDES = {
    None: frozenset(),
    "members": frozenset({"known_members"}),
    "non_members": frozenset({"known_non_members"}),
    "both": frozenset({"known_members", "known_non_members"}),
}


def _surrogate(attack: str, surrogate: str, **more: Any) -> dict[str, Any]:
    return {"name": attack, "steps": [2, 5], "batch_size": 6, "surrogate": SURROGATES[surrogate], **more}


ATTACK_TABLE: dict[str, Row] = {
    "white_box": Row({"name": "white_box"}, frozenset({"discriminate"}), Access.WHITE_BOX, 0),
    "random": Row({"name": "random"}, NOTHING, Access.NONE, 0, random=True),
    "euclidean": Row({"name": "euclidean", "generated": 70}, *SAMPLES, 70, levels=(70,)),
    "euclidean nested": Row({"name": "euclidean", "generated": [20, 70]}, *SAMPLES, 70, levels=(20, 70)),
    **{
        f"nearest {space}": Row(
            {"name": "nearest", "space": space, "generated": [20, 70]}, *SAMPLES, 70, (20, 70), frozenset({needs})
        )
        for space, needs in (("pca", "reference"), ("features", "extractor"))
    },
    **{
        f"monte_carlo {space} {radius}": Row(
            {"name": "monte_carlo", "space": space, "radius": radius, "percentile": 20.0, "generated": [20, 70]},
            *SAMPLES,
            70,
            (20, 70),
            REFERENCE,
            ties=True,
        )
        for space in ("pca", "hog", "color")
        for radius in ("median", "percentile")
    },
    **{
        name: Row({"name": name, "generated": [20, 70], "components": 3}, *SAMPLES, 70, (20, 70), REFERENCE)
        for name in ("domias", "gen_lra")
    },
    **{
        f"{name} {perceptual}": Row(
            {"name": name, "generated": [20, 70], "steps": 3, "starts": 2, "perceptual": perceptual},
            uses,
            access,
            70,
            (20, 70),
            frozenset({"extractor"}) if perceptual else NOTHING,
            random=name == "latent",
        )
        for name, uses, access in (
            ("latent", frozenset({"samples", "latent"}), Access.LATENT),
            ("generator", frozenset({"samples", "latent", "generator"}), Access.GENERATOR),
        )
        for perceptual in (0.0, 0.2)
    },
    **{
        f"local_gan {side or 'nothing'} {surrogate}": Row(
            _surrogate("local_gan", surrogate, generated=30, **({"known": 20, "sides": side} if side else {})),
            *SAMPLES,
            30,
            levels=(2, 5),
            needs=needs,
            known=20 if side else 0,
            random=True,
        )
        for side, needs in SIDES.items()
        for surrogate in SURROGATES
    },
    **{
        f"discriminative {real} {surrogate}": Row(
            _surrogate("discriminative", surrogate, real=real, known=10, **({"generated": 30} if draws else {})),
            *uses,
            draws,
            levels=(2, 5),
            needs=needs,
            known=10,
            random=True,
        )
        for real, uses, draws, needs in (
            ("samples", SAMPLES, 30, frozenset({"known_non_members"})),
            ("members", (NOTHING, Access.NONE), 0, SIDES["both"]),
        )
        for surrogate in SURROGATES
        if TARGETS.choose(SURROGATES[surrogate]).cls.judges_alone
    },
}

ATTACK_TABLE |= {
    "diffusion_loss": Row({"name": "diffusion_loss", "time": 20, "draws": 2}, *DENOISE, 0, random=True, target="ddpm"),
    "secmi": Row({"name": "secmi", "time": 20, "interval": 5}, *DENOISE, 0, target="ddpm"),
    "pia": Row({"name": "pia", "time": 20}, *DENOISE, 0, target="ddpm"),
    "pian": Row({"name": "pian", "time": 20}, *DENOISE, 0, target="ddpm"),
    "sima": Row({"name": "sima", "time": 20}, *DENOISE, 0, target="ddpm"),
    "pfami": Row({"name": "pfami", "times": [5, 20], "crops": [0.8]}, *DENOISE, 0, random=True, target="ddpm"),
    "rediffuse": Row(
        {"name": "rediffuse", "time": 20, "variations": 2}, frozenset({"variation"}), Access.LATENT, 0,
        random=True, target="ddpm",
    ),
    **{
        name: Row(
            {"name": name, "draws": 3, **given}, frozenset({"encode", "generator"}), Access.WHITE_BOX, 0,
            random=True, target="vae",
        )
        for name, given in (("vae_reconstruction", {}), ("elbo", {"variance": 0.2}), ("pfami_vae", {"variance": 0.2}))
    },
    **{
        f"gradient_norms {target}": Row(
            {"name": "gradient_norms", "group": [0, 1, 3], "groups": 3}, *GRADIENTS, 0, (0, 1, 3),
            random=True, target=target,
        )
        for target in ("ddpm", "vae")
    },
    "known_gradients": Row(
        {"name": "known_gradients", "known": 10}, *GRADIENTS, 0, needs=SIDES["both"], known=10, random=True,
        target="vae",
    ),
}  # fmt: skip

# What follows reads the tables only


def refusals(target, arm):
    """Why a target refuses an arm: of each defense that it refuses, or of the arm."""
    keys = [*(choice.name for choice in Arm.parse(ARM_TABLE[arm]).choices), arm]
    return [REFUSALS[key, target] for key in keys if (key, target) in REFUSALS]


PAIRS = [(target, arm) for target in TARGET_TABLE for arm in ARM_TABLE if not refusals(target, arm)]
ONE_OF_EACH = {row.name: key for key, row in ATTACK_TABLE.items()}
"""Every attack once: it sees of an arm only the networks that it left, and of a target only its size."""

END = 6
"""Steps of training: two epochs of three."""

LONG_CHAIN, ARMS_OF_IT = "ddpm 16 random", ("none", "dp_sgd 2 draws+augmentation")
"""Samples of this target take a chain of all its timesteps: CI has these arms of it, `make test-all` all."""


def _marks(target, arm):
    """`make test` has every arm of each target as it is by default, and of other settings the first and the last."""
    if target == LONG_CHAIN and arm not in ARMS_OF_IT:
        return pytest.mark.slow
    arms = [fitting for name, fitting in PAIRS if name == target]
    ours = target in TARGETS.names() or (target != LONG_CHAIN and arm in (arms[0], arms[-1]))
    return () if ours else pytest.mark.long


every_pair = pytest.mark.parametrize(
    ("target", "arm"), [pytest.param(*pair, marks=_marks(*pair)) for pair in PAIRS], ids=[f"{a}-{b}" for a, b in PAIRS]
)
every_attack = pytest.mark.parametrize("attack", ATTACK_TABLE)
every_target = pytest.mark.parametrize("target", TARGET_TABLE)


def images_for(target, count, seed):
    size = TARGET_TABLE[target].get("size", 8)
    return np.random.default_rng(seed).integers(0, 256, (count, 1, size, size), dtype=np.uint8)


def build(target):
    row = dict(TARGET_TABLE[target])
    size = row.pop("size", 8)
    return TARGETS.choose(row).build((1, size, size))


def make_trainer(target, arm, generator_every=2):
    steps = {"generator_every": generator_every} if TARGET_TABLE[target]["name"] in ADVERSARIAL else {}
    config = TrainingConfig(batch_size=4, learning_rate=2e-3, **steps)
    images = images_for(target, 12, 0)
    return Trainer(build(target), Records(images, 12), config, Arm.parse(ARM_TABLE[arm]), Streams(9), bytes(32))


@functools.cache
def trained(target, arm):
    """A trainer that went to the end in one go, and what its target was before; nobody may train it further."""
    trainer = make_trainer(target, arm)
    before = copy.deepcopy(trainer.target.state_dict())
    trainer.run_to(END)
    return trainer, before


@functools.cache
def queries_for(target):
    return to_float(torch.from_numpy(images_for(target, 11, 3)))


@functools.cache
def knowledge_for(target):
    members, others, reference = (to_float(torch.from_numpy(images_for(target, 7, seed))) for seed in (21, 22, 23))
    return Knowledge(members, others, reference, extractor=pooled)


def pooled(images):
    """An extractor."""
    return torch.nn.functional.avg_pool2d(images, 2).flatten(1).sin()


def run(attack, target=None, queries=None, arm="none", rng=1, snapshot=None, knowledge=None):
    target = target or ATTACK_TABLE[attack].target
    built = ATTACKS.choose(ATTACK_TABLE[attack].spec).build()
    queries = queries_for(target) if queries is None else queries
    snapshot = snapshot or Snapshot(trained(target, arm)[0].target, Streams(2))
    return built(snapshot, queries, knowledge or knowledge_for(target), Streams(rng)).scores


def scores_of(snapshot, images):
    """Scores [B] of a target that are its own: the discriminator's, or each image's loss."""
    if "discriminate" in snapshot.offers:
        return snapshot.discriminate(images)
    return snapshot.target.mean_losses(images, Streams(5))


def same_states(a, b):
    return all(torch.equal(value, b[name]) for name, value in a.items())


class GeneratorOnly(DCGAN):
    """Offers its discriminator to nobody."""

    name = "generator_only"
    offers = frozenset({"samples", "latent", "generator"})
