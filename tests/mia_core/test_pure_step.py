"""A step is a function of weights, records and draws: it reads nothing on the host, draws nothing, knows no device."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mia_core.batches import Rows
from mia_core.defenses import Arm
from mia_core.streams import Streams
from mia_core.targets import TARGETS, Adversarial, Batch
from mia_core.training import Trainer, TrainingConfig
from mia_core.training_records import Contrast, Records
from tests.mia_core.steps import learner_of

TABLE = {
    "dcgan": {"width": 4, "latent": 4},
    "dcgan batch": {"width": 4, "latent": 4, "norm": "batch"},
    "began": {"width": 2, "latent": 4},
    "vae_gan": {"width": 4, "latent": 4},
    "wgan_gp": {"width": 4, "latent": 4},
    "vae": {"width": 4, "latent": 4},
    "vae bernoulli": {"width": 4, "latent": 4, "likelihood": "bernoulli"},
    "ddpm": {"width": 4, "multipliers": [1, 2], "attention": 4},
}
ARMS = {
    "none": "none",
    "weight_norm": "weight_norm",
    "dropout": "dropout",
    "noise_layer": {"name": "noise_layer", "sigma": 0.3},
    "real_weight": {"name": "real_weight", "weight": 0.1},
    "augmentation": {"name": "augmentation", "crop": 1},
}
every_target = pytest.mark.parametrize("target", TABLE)


def test_every_target_is_here():
    own = {name for name in TARGETS.names() if TARGETS.find(name).__module__.startswith("mia_core.")}
    assert own == {name.split()[0] for name in TABLE}


def build(target):
    return TARGETS.choose({"name": target.split()[0], **TABLE[target]}).build((1, 8, 8))


def trainer_of(target, arm, contrast=None):
    images = np.random.default_rng(0).integers(0, 256, (12, 1, 8, 8), dtype=np.uint8)
    known = None if contrast is None else Contrast(images[:5], contrast)
    config = TrainingConfig(batch_size=4)
    return Trainer(build(target), Records(images, 12, contrast=known), config, Arm.parse(ARMS[arm]), Streams(1))


class Impure(AssertionError):
    """A step did what it must not do."""


READS = {"_local_scalar_dense", "item", "is_nonzero", "nonzero", "equal", "unique_dim", "_unique2", "masked_select"}
"""Operations whose result the host has to wait for: a value, or how many there are."""


class Pure(TorchDispatchMode):
    """Refuses host reads, numbers that are drawn, copies to another device, and shapes that depend on values."""

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        name = function.overloadpacket.__name__
        if name in READS:
            raise Impure(f"{name} reads on the host")
        if torch.Tag.nondeterministic_seeded in function.tags:
            raise Impure(f"{name} draws numbers")
        if name == "index" and any(i is not None and i.dtype == torch.bool for i in arguments[1]):
            raise Impure("an index of booleans has a length that the host waits for")
        if name == "_to_copy" and (named or {}).get("device") not in (None, arguments[0].device):
            raise Impure("a copy to another device")
        return function(*arguments, **(named or {}))


@pytest.fixture
def refuse_generators(monkeypatch):
    """Refuse streams from now on."""

    def refused(*arguments):
        raise Impure("a step made a generator")

    def begin():
        monkeypatch.setattr(Streams, "torch", refused)
        monkeypatch.setattr(Streams, "numpy", refused)
        monkeypatch.setattr(Streams, "seed", refused)

    return begin


@pytest.mark.parametrize("arm", ARMS)
@every_target
def test_a_step_reads_nothing_on_the_host_and_draws_nothing(refuse_generators, target, arm):
    """The optimizers' steps are within; what layers draw is drawn before their step, from the third on."""
    if Arm.parse(ARMS[arm]).refusal(build(target)):
        return  # of a target without discriminator
    trainer = trainer_of(target, arm)
    trainer.target.train()
    for number in range(3):
        for layer in trainer.random_layers:
            layer.begin(trainer.layer_draws, number)
        batch = trainer.batch()
        if number < 2:
            trainer.learner.step(batch)
    refuse_generators()
    with Pure():
        values = trainer.learner.step(batch)
    assert all(bool(value.isfinite()) for value in values.values())


@every_target
def test_a_surrogates_step_is_as_pure(refuse_generators, target):
    cls = TARGETS.find(target.split()[0])
    if not issubclass(cls, Adversarial):
        return  # a surrogate judges by its discriminator
    for share in (0.5, 1.0):
        if share == 1 and not cls.judges_alone:
            continue
        trainer = trainer_of(target, "none", share)
        trainer.target.train()
        batch = trainer.batch()
        with Pure():
            trainer.learner.step(batch)
    refuse_generators()
    with Pure():
        trainer.learner.step(batch)


IMPURE = {
    "reads a value": lambda x: x * float(x.mean()),
    "asks whether": lambda x: x if bool(x.sum() > 0) else -x,
    "draws": lambda x: x + torch.randn_like(x),
    "drops out": lambda x: torch.nn.functional.dropout(x, 0.5),
    "chooses by truth": lambda x: x[x.flatten(1).sum(1) > -1e9],
    "makes a generator": lambda x: x + Streams(1).torch("noise").initial_seed() % 2,
}


@pytest.mark.parametrize("kind", IMPURE)
def test_what_is_no_pure_step_is_found(refuse_generators, monkeypatch, kind):
    trainer = trainer_of("dcgan", "none")
    batch = trainer.batch()
    plain = type(trainer.target).images
    monkeypatch.setattr(type(trainer.target), "images", lambda *given: IMPURE[kind](plain(*given)))
    refuse_generators()
    with pytest.raises(Impure), Pure():
        trainer.learner.step(batch)


class OneDevice(TorchDispatchMode):
    """Refuses an operation of which one tensor is elsewhere; torch itself lets indices and single numbers pass."""

    def __init__(self, device):
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        found = function(*arguments, **(named or {}))
        places = {x.device.type for x in tree_leaves((arguments, named, found)) if isinstance(x, torch.Tensor)}
        if places - {self.device}:
            raise Impure(f"{function} is on {sorted(places)}")
        return found


def elsewhere(target):
    """A target and what a step is given on a device that has shapes and no numbers: all but the CPU."""
    built = build(target).to_empty(device="meta").train()
    wanted = built.draws(4, 4, 2)
    kinds = {"index": torch.int64}
    batch = Batch(
        real=torch.empty(4, 1, 8, 8, device="meta"),
        rows=Rows(torch.arange(4)),
        draws={
            name: torch.empty(draw.shape, dtype=kinds.get(draw.law, torch.float32), device="meta")
            for name, draw in wanted.items()
        },
        fakes=4,
        contrast=torch.empty(2, 1, 8, 8, device="meta"),
    )
    return built, batch


@every_target
def test_all_of_a_step_is_on_the_device_of_weights_and_records(target):
    """Losses, gradients and plain updates."""
    built, batch = elsewhere(target)
    optimizers = {name: torch.optim.SGD(built.get_submodule(name).parameters(), 0.1) for name in built.networks}
    with OneDevice("meta"):
        values = learner_of(built, optimizers).step(batch)
    assert len(values) >= (4 if isinstance(built, Adversarial) else 1)
    assert {value.device.type for value in values.values()} == {"meta"}


@pytest.mark.parametrize("left", [torch.zeros(1, 1, 8, 8), torch.tensor(1.0)], ids=["tensor", "number"])
def test_what_was_left_on_the_cpu_is_found(monkeypatch, left):
    built, batch = elsewhere("dcgan")
    plain = type(built).images
    monkeypatch.setattr(type(built), "images", lambda *given: plain(*given) + left)
    with pytest.raises((Impure, RuntimeError), match="cpu"), OneDevice("meta"):
        learner_of(built).step(batch)


def test_an_index_that_was_left_on_the_cpu_is_found():
    built, batch = elsewhere("wgan_gp")
    batch.draws["partner"] = torch.zeros(4, dtype=torch.int64)
    with pytest.raises(Impure, match="cpu"), OneDevice("meta"):
        learner_of(built).step(batch)
