"""The entry points: train a target on images, attack it, judge the scores. Arrays and tensors in and out.

    model = train({"name": "dcgan", "norm": "batch"}, images, epochs=150)
    scores = attack(model, queries, "white_box")
    judge(scores, members).auc

For a generator that was trained elsewhere, samples are enough: `attack(SampleFolder(images), queries, "euclidean")`.

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
from mia_core.offers import loading
from mia_core.persons import PERSON, Persons
from mia_core.settings import require_read, validate
from mia_core.streams import Streams
from mia_core.targets import TARGETS
from mia_core.tf32 import tf32
from mia_core.training import Trainer, TrainingConfig
from mia_core.training_records import Records


class Trained(Snapshot):
    """A trained target and its samples. epsilon: of its (epsilon, delta) guarantee, None without one."""

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
    """Train a target on all images, for `epochs` or for `steps` (discriminator updates), exactly one of them.

    target, defense, training: names or settings as in a study file, e.g. `{"name": "dcgan", "norm": "batch"}`,
    `{"name": "dp_sgd", "sigma": 1.0, "clip": 1.0, "delta": 1e-5}`, `{"batch_size": 64}`. images: [N,C,H,W], uint8 or
    float in [-1, 1]. persons: int64 [N], the person of each image, for `dp_sgd` with `unit: person`; their number is
    assumed to be public. On a CPU the result is a function of the seed, except for a private arm's draws. ValueError,
    in one line, for arguments that do not fit together.
    """
    records = _records(images, "train: images")
    config = validate(TrainingConfig, training or {}, "training")
    if (epochs is None) == (steps is None):
        raise Refused("train: give epochs or steps, one of them")
    given = steps if epochs is None else epochs
    if not isinstance(given, Integral) or isinstance(given, bool) or given < 1:
        raise Refused(f"train: epochs or steps must be a whole number from 1, got {given!r}")
    length = int(given) if epochs is None else steps_of(int(given), len(records), config.batch_size)
    with loading():
        arm, choice = Arm.parse(defense), TARGETS.choose(target)
    streams = Streams("front", seed)
    if persons is not None and arm.unit != PERSON:
        raise Refused("train: persons are for dp_sgd with unit: person, and this trains per record; leave them out")
    require_read(choice, "target", records.shape[1:])
    trainer = Trainer(
        target=choice.build(tuple(records.shape[1:])),
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
    """Membership scores float32 [Q] of the queries, higher = more likely a member; of the attack's last training step.

    model: the result of `train`, or a `SampleFolder` or `Sampler` where only samples are available. attack: a name
    or settings as in a study file, e.g. `{"name": "local_gan", "steps": [500]}`. known_members, known_non_members,
    reference: records that the attacker knows, [.,C,H,W]; none of them may be a query. extractor: a differentiable
    function from images, float [B,C,H,W] in [-1, 1], to features [B,d], on the model's device, fitted without the
    queries. ValueError if the attack needs what the model or the attacker lacks.
    """
    if not isinstance(model, Model):
        raise Refused(
            f"attack: model must be what train returns, a SampleFolder or a Sampler, got {type(model).__name__}"
        )
    with loading():
        choice = ATTACKS.choose(attack)
    require_read(choice, "attack")
    chosen = choice.build()
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
    """What scores [Q] reveal about membership, bool [Q]: AUC with its 95 % interval, TPR at low FPR, and more.

    units: int64 [Q], the person of each record, if persons have several records. The interval holds for this model and
    for records like these; how much such a training leaks in general takes several trainings, as in a study.
    """
    persons = None if units is None else np.asarray(units)
    return metrics.judge(np.asarray(scores), np.asarray(members), persons=persons)


def _records(images: Images, where: str) -> np.ndarray:
    """Images as uint8 [N,C,H,W]."""
    found = checked(images, where)
    return found.cpu().numpy() if found.dtype == torch.uint8 else to_uint8(found)


def _floats(images: Images, where: str) -> torch.Tensor:
    """Images as float [N,C,H,W], rounded to the same 8-bit values as training records."""
    return to_float(torch.from_numpy(_records(images, where)))


def _persons(persons: np.ndarray | None, count: int) -> Persons:
    if persons is None or np.shape(persons) != (count,):
        raise Refused(f"train: dp_sgd.unit: person needs persons, int64 [{count}], whose each image is")
    numbers = np.unique(persons, return_inverse=True)[1].ravel()
    return Persons(numbers, int(numbers.max()) + 1)
