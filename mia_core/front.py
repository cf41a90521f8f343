"""The front door: train a target on images, attack it, judge the scores; arrays and tensors in and out.

    model = train({"name": "dcgan", "norm": "batch"}, images, epochs=150)
    scores = attack(model, queries, "white_box")
    judge(scores, members).auc

Of a generator that was trained elsewhere, its samples are enough: `attack(SampleFolder(images), queries, "euclidean")`.

A study (`study`) does the same for many trials, with controls, replicates and a store.
"""

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch

from mia_core import metrics
from mia_core.attacks import ATTACKS, Knowledge
from mia_core.batches import steps_of
from mia_core.data.pool import to_float, to_uint8
from mia_core.defenses import Arm
from mia_core.errors import Refused
from mia_core.metrics import Leakage
from mia_core.models import Images, Model, Snapshot, checked
from mia_core.models import SampleFolder as SampleFolder
from mia_core.models import Sampler as Sampler
from mia_core.persons import PERSON, Persons
from mia_core.settings import validate
from mia_core.streams import Streams
from mia_core.targets import TARGETS
from mia_core.tf32 import tf32
from mia_core.training import Trainer, TrainingConfig
from mia_core.training_records import Records


class Trained(Snapshot):
    """A trained target, with the samples drawn from it. epsilon: of (epsilon, delta), None without a guarantee."""

    def __init__(self, trainer: Trainer, streams: Streams) -> None:
        super().__init__(trainer.target, streams)
        self.epsilon = trainer.epsilon
        self.history = tuple(trainer.history)


def train(
    target: str | Mapping[str, Any],
    images: Images,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    defense: str | Mapping[str, Any] | Sequence[Any] = "none",
    training: Mapping[str, Any] | None = None,
    persons: np.ndarray | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> Trained:
    """Train a target on all images, for so many epochs or steps (discriminator updates).

    target, defense, training: names or settings as in a study file, e.g. `{"name": "dcgan", "norm": "batch"}`,
    `{"name": "dp_sgd", "sigma": 1.0, "clip": 1.0, "delta": 1e-5}`, `{"batch_size": 64}`. persons: int64 [N], whose each
    image is, for `dp_sgd` with `unit: person`; their number is taken to be public. On a CPU everything but what a
    private arm draws is a function of the seed. ValueError in one line for what does not go together.
    """
    records = _records(images, "train: images")
    config = validate(TrainingConfig, training or {}, "training")
    if (epochs is None) == (steps is None):
        raise Refused("train: give epochs or steps, one of them")
    given = steps if epochs is None else epochs
    if not isinstance(given, Integral) or isinstance(given, bool) or given < 1:
        raise Refused(f"train: epochs or steps must be a whole number from 1, got {given!r}")
    length = int(given) if epochs is None else steps_of(int(given), len(records), config.batch_size)
    arm, streams = Arm.parse(defense), Streams("front", seed)
    if persons is not None and arm.unit != PERSON:
        raise Refused("train: persons are for dp_sgd with unit: person, and this trains per record; leave them out")
    trainer = Trainer(
        target=TARGETS.choose(target).build(tuple(records.shape[1:])),
        records=Records(records, len(records), _persons(persons, len(records)) if arm.unit == PERSON else None),
        config=config,
        arm=arm,
        streams=streams,
        device=device,
        horizon=length if arm.needs_horizon else None,
    )
    trainer.run_to(length)
    return Trained(trainer, streams.child("samples"))


def attack(
    model: Model,
    queries: Images,
    attack: str | Mapping[str, Any] = "white_box",
    *,
    known_members: Images | None = None,
    known_non_members: Images | None = None,
    reference: Images | None = None,
    extractor: Callable[[torch.Tensor], torch.Tensor] | None = None,
    seed: int = 0,
) -> torch.Tensor:
    """Scores [Q] of queries, float32, higher = more likely a member; after the last of an attack's training steps.

    model: what `train` returns; or, where only samples are there, a `SampleFolder` of them or a `Sampler` of more.
    attack: a name or settings as in a study file, e.g. `{"name": "local_gan", "steps": [500]}`. The records that an
    attacker knows are none of the queries. extractor: a function from images, float [B,C,H,W] in [-1, 1], to features
    [B,d], differentiable, on the model's device, and fitted on none of the queries. ValueError when the attack needs
    what the model or the attacker lacks.
    """
    if not isinstance(model, Model):
        raise Refused(
            f"attack: model must be what train returns, a SampleFolder or a Sampler, got {type(model).__name__}"
        )
    chosen = ATTACKS.choose(attack).build()
    known = {"known_members": known_members, "known_non_members": known_non_members, "reference": reference}
    for word, given in (known | {"extractor": extractor}).items():
        if given is not None and word not in chosen.needs:
            raise Refused(
                f"attack: {chosen.name} as it is set does not use {word}; leave it out, or change its settings"
            )
    device = model.device
    records = {word: _floats(x, f"attack: {word}").to(device) for word, x in known.items() if x is not None}
    knowledge = Knowledge(**records, extractor=extractor)
    streams = Streams("front attack", seed, chosen.name)
    with tf32(False):
        return chosen(model, _floats(queries, "attack: queries"), knowledge, streams).scores.values[-1]


def judge(
    scores: torch.Tensor | np.ndarray, members: torch.Tensor | np.ndarray, units: np.ndarray | None = None
) -> Leakage:
    """What scores [Q] tell about membership bool [Q]: AUC with its 95 % interval, TPR at low FPR, and more.

    units: int64 [Q], whose each record is, where several are one person's. The interval speaks of this model and of
    records like these; what a training like this one leaks takes several trainings, as a study makes them.
    """
    persons = None if units is None else np.asarray(units)
    return metrics.judge(np.asarray(scores), np.asarray(members), persons=persons)


def _records(images: Images, where: str) -> np.ndarray:
    """uint8."""
    found = checked(images, where)
    return found.cpu().numpy() if found.dtype == torch.uint8 else to_uint8(found)


def _floats(images: Images, where: str) -> torch.Tensor:
    """Of the same bytes as records are trained on."""
    return to_float(torch.from_numpy(_records(images, where)))


def _persons(persons: np.ndarray | None, count: int) -> Persons:
    if persons is None or np.shape(persons) != (count,):
        raise Refused(f"train: dp_sgd.unit: person needs persons, int64 [{count}], whose each image is")
    numbers = np.unique(persons, return_inverse=True)[1].ravel()
    return Persons(numbers, int(numbers.max()) + 1)
