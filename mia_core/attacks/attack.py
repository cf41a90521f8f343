"""The attack contract: `run(view, queries, knowledge, rng) -> Scores`, and the checks that are the same for all.

Shapes: Q queries, L levels. Images are float in [-1, 1].
"""

import inspect
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Gt
from pydantic import BeforeValidator

from mia_core.access import CAPABILITIES, Access, View, access_of, view
from mia_core.attacks.shared import Shared
from mia_core.errors import Refused
from mia_core.meter import Meter, Spent
from mia_core.model_facts import ModelFacts
from mia_core.models import Model
from mia_core.registry import Registry, StoredSettings
from mia_core.settings import Choice, Nothing
from mia_core.streams import Streams


@dataclass(frozen=True)
class Knowledge:
    """What an attacker knows besides the view: images float [., C, H, W], None where nothing is known.

    extractor: a function from images [B,C,H,W] to features [B,d], differentiable, fitted on reference records.
    prepared: what `Attack.prepare` made of the rest; no knowledge of its own.
    """

    known_members: torch.Tensor | None = None
    known_non_members: torch.Tensor | None = None
    reference: torch.Tensor | None = None
    extractor: Callable[[torch.Tensor], torch.Tensor] | None = None
    prepared: Any = field(default=None, metadata={"derived": True})

    def has(self) -> frozenset[str]:
        """Names of what is known."""
        return frozenset(name for name in KNOWLEDGE if getattr(self, name) is not None)


KNOWLEDGE = frozenset(item.name for item in fields(Knowledge) if not item.metadata.get("derived"))
"""Names of all that an attacker may know."""
RECORDS = KNOWLEDGE - {"extractor"}
"""Those of them that are records."""


@dataclass(frozen=True)
class Scores:
    """values [L,Q] float32, higher = member, at levels [L].

    levels: steps of attack training, numbers of samples, or groups of parameters; (None,) for an attack without. spent:
    what each level asked of the model, if levels ask one after another; None if all of them share all that was asked.
    """

    levels: tuple[int | None, ...]
    values: torch.Tensor
    spent: tuple[Spent, ...] | None = None


@dataclass(frozen=True)
class Result:
    """Checked scores, what each level asked of the model for all queries together, and the seconds the attack took."""

    scores: Scores
    seconds: float
    spent: tuple[Spent, ...]


def ascending(value: Any, least: int) -> Any:
    """A setting that is one whole number from `least`, or several that ascend; Refused for anything else."""
    several = value if isinstance(value, (list, tuple)) else (value,)
    if not several or any(isinstance(one, bool) or not isinstance(one, int) or one < least for one in several):
        raise Refused(f"must be a whole number from {least}, or several, ascending")
    if list(several) != sorted(set(several)):
        raise Refused("levels must ascend")
    return tuple(value) if isinstance(value, list) else value


def _from_one(value: Any) -> Any:
    return ascending(value, 1)


SampleLevels = Annotated[Annotated[int, Gt(0)] | tuple[Annotated[int, Gt(0)], ...], BeforeValidator(_from_one)]
"""How many samples an attack draws; several: it draws the most once, and scores by the first of them at each level."""


class Attack(ABC):
    """An attack with its settings; subclasses set `name`, `uses`, and `Config` if there are settings.

    version: part of ids; raise it if a change alters scores. nested: the setting that lists the levels of one run, in
    ascending order: `steps` of the attack's training, `generated`, numbers of samples (`SampleLevels`), or `group`, of
    parameters. These settings have the same meaning in all attacks: `generated`, the number of samples to draw;
    `known`, the number of known records on each side, in percent of the smallest training-set size; and `variant`,
    which distinguishes configurations of one attack in labels, e.g. `_known20`. shared: distances that the attacks of a
    trial share. meter: counts what the view is asked.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    nested: ClassVar[Literal["steps", "generated", "group"] | None] = None
    Config: ClassVar[type] = Nothing

    def __init__(self, config: Any) -> None:
        self.config = config
        self.shared = Shared()
        self.meter = Meter()
        assert self.uses <= CAPABILITIES.keys() and self.needs <= KNOWLEDGE, (self.uses, self.needs)

    @property
    @abstractmethod
    def uses(self) -> frozenset[str]:
        """Capabilities of the model, keys of `CAPABILITIES`. A class attribute unless settings decide."""

    @property
    def needs(self) -> frozenset[str]:
        """The attacker's knowledge, of `KNOWLEDGE`. A class attribute unless settings decide."""
        return frozenset()

    @property
    def access(self) -> Access:
        """The published name of the access that `uses` amounts to."""
        return access_of(self.uses)

    @property
    def levels(self) -> tuple[int | None, ...]:
        """The levels `run` will report, one row of scores each."""
        return self._listed(self.nested) if self.nested else (None,)

    @property
    def generated(self) -> int:
        """How many samples of the model the attack draws."""
        return max(self.numbers) if "samples" in self.uses else 0

    @property
    def numbers(self) -> tuple[int, ...]:
        """Numbers of samples that the attack scores by, ascending."""
        return self._listed("generated")

    @property
    def known(self) -> int:
        """How many records the attacker knows on either side, in percent of the smallest training-set size."""
        return getattr(self.config, "known", 0)

    @property
    def fewest(self) -> int:
        """How many records of each kind that it knows, 1 or 2 that differ, a run takes at least."""
        return 1

    @property
    def times(self) -> tuple[int, ...]:
        """The times of a diffusion model that the attack looks at, if any."""
        return ()

    @property
    def variant(self) -> str:
        """What tells this attack from others of its name in a study's labels."""
        return getattr(self.config, "variant", "")

    @classmethod
    def unread(cls, config: Any) -> dict[str, str]:
        """Settings of its own that mean nothing beside the others of `config`, each with the reason."""
        return {}

    def prepare(self, knowledge: Knowledge) -> Any:
        """What depends on settings other than `nested` and on knowledge only; `run` finds it in `knowledge.prepared`.

        A study computes it once for all of its models.
        """
        return None

    @abstractmethod
    def run(self, view: View, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """Score queries [Q,C,H,W]; `view` has what the attack uses and no more, all randomness comes from `rng`."""

    def of_timesteps(self, timesteps: int) -> dict[str, Any]:
        """The settings that bring its times, of 1,000 timesteps, to the same parts of so many; none without times."""
        return {}

    def unfit(self, model: ModelFacts) -> str | None:
        """Why a model cannot be attacked, or None. What only a run could refuse would be refused in every trial."""
        if missing := self.uses - model.offers:
            return f"{model.name} does not offer {', '.join(sorted(missing))}"
        if model.timesteps is not None and (latest := max(self.times, default=0)) >= model.timesteps:
            earlier = ", ".join(f"{name}: {value}" for name, value in self.of_timesteps(model.timesteps).items())
            return (
                f"{model.name} has times below its {model.timesteps} timesteps, and {latest} is none; set an earlier "
                f"one ({earlier} is the same part of them as of 1,000)"
            )
        return None

    def __call__(
        self,
        model: Model,
        queries: torch.Tensor,
        knowledge: Knowledge,
        rng: Streams,
        shared: Shared | None = None,
    ) -> Result:
        """Run with checked input and output; ValueError when something needed is missing or a score is not finite.

        shared: of other attacks on the same model by the same queries.
        """
        if reason := self.unfit(model.facts):
            raise Refused(f"{self.name}: {reason}")
        if missing := self.needs - knowledge.has():
            raise Refused(f"{self.name} needs {', '.join(sorted(missing))}")
        if queries.shape[1:] != model.record_shape or not len(queries) or queries.dtype != torch.float32:
            raise Refused(
                f"{self.name}: queries must be float32 [Q,{','.join(map(str, model.record_shape))}], "
                f"got {queries.dtype} {list(queries.shape)}"
            )
        lowest, highest = queries.aminmax()  # queries can be gigabytes: no copy of them
        if not (lowest >= -1 and highest <= 1):  # NaN is neither above nor below
            raise Refused(f"{self.name}: queries must be in [-1, 1]")
        started = time.perf_counter()
        if knowledge.prepared is None and (prepared := self.prepare(knowledge)) is not None:
            knowledge = replace(knowledge, prepared=prepared)
        self.shared, self.meter = shared or Shared(), Meter()
        scores = self.run(view(model, self.uses, self.meter), queries.to(model.device), knowledge, rng)
        seconds = time.perf_counter() - started
        values = scores.values.detach().to("cpu", torch.float32)
        if scores.levels != self.levels or values.shape != (len(self.levels), len(queries)):
            raise ValueError(
                f"{self.name}: promised levels {self.levels} x {len(queries)} queries, "
                f"gave {scores.levels} x {list(values.shape)}"
            )
        if not bool(torch.isfinite(values).all()):
            raise ValueError(f"{self.name}: {int((~torch.isfinite(values)).sum())} scores are not finite")
        spent = scores.spent or (self.meter.spent,) * len(scores.levels)
        return Result(Scores(scores.levels, values), seconds, spent)

    def _listed(self, setting: str) -> tuple[int, ...]:
        value = getattr(self.config, setting)
        return value if isinstance(value, tuple) else (value,)


NESTED = ("steps", "generated", "group")
"""Settings that may list the levels of one run."""


class StoredAttack(Attack):
    """Stands for an attack of a package where a store is read; it cannot be run."""

    config: StoredSettings

    def __init__(self, config: StoredSettings) -> None:
        nested = config.fact("nested")
        self.nested = nested if nested in NESTED else None  # type: ignore[misc]
        super().__init__(config)

    @property
    def uses(self) -> frozenset[str]:
        """As the store says."""
        found = self.config.fact("uses")
        return frozenset(found if isinstance(found, list) else ()) & CAPABILITIES.keys()

    def run(self, view: View, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """Refused."""
        raise Refused("an attack of a package is not run to read a store")

    @staticmethod
    def kept(choice: Choice[Attack], before: Mapping[str, Any]) -> dict[str, Any]:
        """Its `nested`, and all that it uses with any of its settings."""
        uses = choice.build().uses | set(before.get("uses", ()))
        return {"nested": choice.cls.nested, "uses": sorted(uses)}

    @staticmethod
    def unfit_class(cls: type[Attack]) -> str | None:
        """Why a package cannot offer this attack, or None."""
        if cls.nested is not None and cls.nested not in {item.name for item in fields(cls.Config)} & set(NESTED):
            return f"has the nested {cls.nested!r}, which is none of its settings, or of {', '.join(NESTED)}"
        for name, known in (("uses", CAPABILITIES.keys()), ("needs", KNOWLEDGE)):
            given = inspect.getattr_static(cls, name)
            if not isinstance(given, property | set | frozenset):
                return f"has `{name}` that are no set"
            if not isinstance(given, property) and (odd := sorted(given - known)):
                return f"{name} {odd[0]!r}, and there is {', '.join(sorted(known))}"
        return None


ATTACKS: Registry[Attack] = Registry("attack", "attacks", StoredAttack)
