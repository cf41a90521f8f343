"""The attack contract: `run(view, queries, knowledge, rng) -> Scores`, and the checks that are the same for all.

Shapes: Q queries, L levels. Images are float in [-1, 1].
"""

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from mia_core.access import Access, NoView, Snapshot, view
from mia_core.settings import Registry
from mia_core.streams import Streams


@dataclass(frozen=True)
class Knowledge:
    """What an attacker knows besides the view: images float [., C, H, W], None where nothing is known."""

    known_members: torch.Tensor | None = None
    known_non_members: torch.Tensor | None = None
    reference: torch.Tensor | None = None

    def has(self) -> frozenset[str]:
        """Names of what is known."""
        return frozenset(name for name, value in vars(self).items() if value is not None)


@dataclass(frozen=True)
class Scores:
    """levels [L]: attack-training steps, or (None,) for an attack without. values [L,Q] float32, higher = member."""

    levels: tuple[int | None, ...]
    values: torch.Tensor


@dataclass(frozen=True)
class Result:
    """Checked scores, and the seconds the attack took."""

    scores: Scores
    seconds: float


class Attack(ABC):
    """An attack with its settings; subclasses have `name`, `access`, `needs` and a settings class `Config`.

    access: the least the attack works with. needs: what the target must offer ("discriminator", ...) and what must be
    known ("known_members", "known_non_members", "reference"); either may be a property, where settings decide. version:
    of its scores; a change that alters them raises it. nested: the setting that lists attack-training steps, ascending,
    if one run reports several levels.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    access: Access
    needs: frozenset[str] = frozenset()
    nested: ClassVar[str | None] = None

    def __init__(self, config: Any) -> None:
        self.config = config

    @property
    def levels(self) -> tuple[int | None, ...]:
        """The levels `run` will report, one row of scores each."""
        return getattr(self.config, self.nested) if self.nested else (None,)

    @property
    def generated(self) -> int:
        """How many samples of the target the attack draws."""
        return 0

    @property
    def known(self) -> int:
        """How many records the attacker knows on either side, in percent of the smallest training-set size."""
        return 0

    @property
    def variant(self) -> str:
        """What tells this attack from others of its name in a study's labels, e.g. `_known20`."""
        return ""

    @abstractmethod
    def run(self, view: Any, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """Score queries [Q,C,H,W]; `view` allows `access` and no more, all randomness comes from `rng`."""

    def __call__(self, snapshot: Snapshot, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Result:
        """Run with checked input and output; ValueError when something needed is missing or a score is not finite."""
        offered = snapshot.target.offers | knowledge.has()
        if missing := self.needs - offered:
            raise ValueError(f"{self.name} needs {', '.join(sorted(missing))}")
        if queries.shape[1:] != snapshot.target.image_shape or not len(queries) or queries.dtype != torch.float32:
            raise ValueError(
                f"{self.name}: queries must be float32 [Q,{','.join(map(str, snapshot.target.image_shape))}], "
                f"got {queries.dtype} {list(queries.shape)}"
            )
        lowest, highest = queries.aminmax()  # queries can be gigabytes: no copy of them
        if not (lowest >= -1 and highest <= 1):  # NaN is neither above nor below
            raise ValueError(f"{self.name}: queries must be in [-1, 1]")
        allowed: NoView = view(snapshot, self.access)
        started = time.perf_counter()
        scores = self.run(allowed, queries.to(snapshot.target.device), knowledge, rng)
        seconds = time.perf_counter() - started
        values = scores.values.detach().to("cpu", torch.float32)
        if scores.levels != self.levels or values.shape != (len(self.levels), len(queries)):
            raise ValueError(
                f"{self.name}: promised levels {self.levels} x {len(queries)} queries, "
                f"gave {scores.levels} x {list(values.shape)}"
            )
        if not bool(torch.isfinite(values).all()):
            raise ValueError(f"{self.name}: {int((~torch.isfinite(values)).sum())} scores are not finite")
        return Result(Scores(scores.levels, values), seconds)


ATTACKS: Registry[Attack] = Registry("attack")
