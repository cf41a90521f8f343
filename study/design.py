"""From a spec to trials: every cell in every replicate, with ids, and what each trial is wanted to hold."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from mia_core.attacks import Attack
from mia_core.data import Pool, Split
from mia_core.hashing import FORMAT, array_digest, content_id
from mia_core.metrics.extractor import Recipe
from mia_core.settings import Choice
from mia_core.targets import Target
from mia_core.training import steps_per_epoch
from study.spec import AttackEntry, Cell, Spec

KNOWABLE = frozenset({"reference", "known_members", "known_non_members"})
"""What a study can let an attacker know, besides what the target offers."""

PRDC_WORDS = ("precision", "recall", "density", "coverage")


@dataclass(frozen=True)
class WantedAttack:
    """An attack at one step level: one row of the store. skipped: why it does not fit, or None.

    run_id: the same for all levels of one run, names its random stream.
    """

    label: str
    attack_id: str
    run_id: str
    level: int | None
    choice: Choice[Attack]
    arguments: dict[str, Any]
    knowledge: str
    skipped: str | None


@dataclass(frozen=True)
class WantedMeasure:
    """A quality measure against one set of real records."""

    name: str
    against: str
    measure_id: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """A cell in a replicate, at one epochs level."""

    trial_id: str
    trajectory_id: str
    cell: Cell
    replicate: int
    epochs: int
    attacks: tuple[WantedAttack, ...]
    measures: tuple[WantedMeasure, ...]
    role: str = "study"

    @property
    def steps(self) -> int:
        """Discriminator updates."""
        return self.epochs * steps_per_epoch(self.cell.train_size, self.cell.training.batch_size)

    @property
    def name(self) -> str:
        """For people: `dcgan n=100 epochs=20 dropout 0.5 replicate=0`."""
        factors = "".join(f"{name}={level} " for name, level in self.cell.factors.items())
        cell = self.cell
        return (
            f"{cell.target.name} n={cell.train_size} epochs={self.epochs} {factors}{cell.arm.label} "
            f"replicate={self.replicate}"
        )


class Design:
    """A spec on its data: the split, the extractor's recipe and all trials. ValueError when something does not fit."""

    def __init__(self, spec: Spec, pool: Pool) -> None:
        self.spec = spec
        self.pool = pool
        self.split: Split = spec.split.build(pool, spec.train_sizes, spec.seed)
        self.split.check_sizes(spec.replicates, spec.train_sizes)
        self.recipe = Recipe(
            config=spec.quality.extractor,
            data=pool.digest,
            reference=array_digest(self.split.reference),
            image_shape=pool.image_shape,
            classes=int(pool.labels.max()) + 1,
            seed=spec.seed,
        )
        self._epsilons: dict[tuple[Any, ...], float | None] = {}
        self._check_quality()
        self.refused = self._check_cells()
        self._check_attacks()
        self.cells = tuple(cell for cell in spec.cells if (cell.arm.label, cell.target.name) not in self.refused)
        self.trials = tuple(
            self._trial(cell, replicate, epochs)
            for replicate in range(spec.replicates)
            for cell in self.cells
            for epochs in spec.epochs
        )

    @property
    def hash(self) -> str:
        """Names this design in the store: the spec, on these data, under this format."""
        return content_id([self.spec.resolved, self.pool.digest, FORMAT])

    @cached_property
    def trajectories(self) -> dict[str, tuple[Trial, ...]]:
        """Trials by the training run they share, epochs ascending."""
        groups: dict[str, list[Trial]] = {}
        for trial in self.trials:
            groups.setdefault(trial.trajectory_id, []).append(trial)
        return {name: tuple(trials) for name, trials in groups.items()}

    def epsilon(self, trial: Trial) -> float | None:
        """epsilon(delta) of a trained trial; None for arms without a guarantee. Kept, since the accountant is slow."""
        cell = trial.cell
        key = (cell.arm.label, cell.train_size, cell.training.batch_size, trial.steps, cell.arm.delta)
        if key not in self._epsilons:
            rate = 1 / steps_per_epoch(cell.train_size, cell.training.batch_size)
            self._epsilons[key] = cell.arm.epsilon(rate, trial.steps)
        return self._epsilons[key]

    @cached_property
    def trial_columns(self) -> frozenset[str]:
        """Columns of the trials table that are this study's own: settings of its arms, further factors."""
        return frozenset(name for cell in self.spec.cells for name in (*cell.arm.columns(), *cell.factors))

    def against(self, word: str, replicate: int, train_size: int) -> Any:
        """Indices of the real records that samples are judged against, as many in every trial."""
        if word == "unseen":
            return self.split.unseen[: self.spec.quality.samples]
        members = self.split.membership(replicate, train_size).train
        order = self.split.streams.numpy("quality", replicate).permutation(len(members))
        return members[order[: self._member_count]]

    @property
    def _member_count(self) -> int:
        return min(self.spec.quality.samples, min(self.spec.train_sizes))

    def _check_quality(self) -> None:
        quality = self.spec.quality
        if "unseen" in quality.against and len(self.split.unseen) < quality.samples:
            raise ValueError(
                f"quality.samples: {quality.samples} need as many unseen records, and split.unseen has "
                f"{len(self.split.unseen)}"
            )
        if set(quality.measures) & set(PRDC_WORDS) and min(quality.samples, self._member_count) < 6:
            raise ValueError("quality.samples: precision, recall, density and coverage need at least 6 samples")
        config = quality.extractor
        if quality.measures and (self.recipe.classes < 2 or len(self.split.reference) < 2 * config.features):
            raise ValueError(
                f"split.reference: the extractor needs {2 * config.features} labelled records of at least 2 classes, "
                f"got {len(self.split.reference)} of {self.recipe.classes}; or lower quality.extractor.features"
            )

    def _check_cells(self) -> dict[tuple[str, str], str]:
        """Why arms do not fit targets, by label and name; ValueError for an arm that fits no target of the study."""
        self._targets: dict[str, Target] = {}
        reasons: dict[tuple[str, str], str] = {}
        fitting = set()
        for cell in self.spec.cells:
            with torch.device("meta"):
                target = self._targets[cell.target.name] = cell.target.build(self.pool.image_shape)
            if reason := cell.arm.hollow(cell.train_size):
                raise ValueError(f"factors.defense: {cell.arm.label} with train_size {cell.train_size}: {reason}")
            if reason := cell.arm.refusal(target):
                reasons[cell.arm.label, cell.target.name] = reason
            else:
                fitting.add((cell.arm.label, cell.target.name))
        for (label, name), reason in reasons.items():
            if label not in {arm for arm, _ in fitting} or (label, name) in fitting:
                raise ValueError(f"factors.defense: {label} with {name}: {reason}")
        return reasons

    def _check_attacks(self) -> None:
        for entry in self.spec.attacks:
            attack = entry.choice.build()
            reasons = {self._skip(attack, target) for target in self._targets.values()}
            if None not in reasons:
                raise ValueError(f"attacks: {entry.label} fits no target of this study: {', '.join(map(str, reasons))}")
            for word in sorted(attack.needs & KNOWABLE):
                if not len(self.known(attack)[word]):
                    setting = "reference" if word == "reference" else "known"
                    raise ValueError(f"attacks: {entry.label} needs {word}, and split.{setting} leaves none")

    def _skip(self, attack: Attack, target: Target) -> str | None:
        missing = attack.needs - target.offers - KNOWABLE
        return f"{target.name} offers no {', '.join(sorted(missing))}" if missing else None

    def known(self, attack: Attack) -> dict[str, np.ndarray]:
        """Indices of the records that an attacker knows, of the words in `KNOWABLE` it needs."""
        members, non_members = self.split.known(attack.known)
        every = {"reference": self.split.reference, "known_members": members, "known_non_members": non_members}
        return {word: every[word] for word in sorted(attack.needs & KNOWABLE)}

    def _trial(self, cell: Cell, replicate: int, epochs: int) -> Trial:
        spec = self.spec
        trajectory_id = content_id(
            {
                "format": FORMAT,
                "data": self.pool.digest,
                "split": spec.split.to_dict(),
                "target": cell.target.to_dict(),
                "training": cell.training,
                "train_size": cell.train_size,
                "defense": cell.arm.to_list(),
                "seed": spec.seed,
                "replicate": replicate,
            }
        )
        steps = epochs * steps_per_epoch(cell.train_size, cell.training.batch_size)
        return Trial(
            trial_id=trial_id(trajectory_id, steps),
            trajectory_id=trajectory_id,
            cell=cell,
            replicate=replicate,
            epochs=epochs,
            attacks=self._wanted_attacks(cell, epochs),
            measures=self._wanted_measures,
        )

    def _wanted_attacks(self, cell: Cell, epochs: int) -> tuple[WantedAttack, ...]:
        last = max(self.spec.epochs)
        wanted: list[WantedAttack] = []
        for entry in self.spec.attacks:
            levels = (last,) if entry.at == "last" else entry.at
            if levels is None or epochs in levels:
                wanted += self._levels(entry, self._targets[cell.target.name])
        return tuple(wanted)

    def _levels(self, entry: AttackEntry, target: Target) -> list[WantedAttack]:
        attack = entry.choice.build()
        arguments = {key: value for key, value in entry.choice.arguments().items() if key != attack.nested}
        known = self.known(attack)
        run = {
            "format": FORMAT,
            "attack": entry.choice.name,
            "arguments": arguments,
            "knowledge": "+".join(known) or "none",
            "queries": self.split.queries_digest,
            "generated": attack.generated,
            "seed": self.spec.seed,
        }
        if known:
            run["known"] = array_digest(*known.values())
        return [
            WantedAttack(
                label=entry.label if level is None else f"{entry.label}_steps{level}",
                attack_id=content_id([run, level]),
                run_id=content_id(run),
                level=level,
                choice=entry.choice,
                arguments=arguments if attack.nested is None else {**arguments, attack.nested: level},
                knowledge=self._knowledge(attack),
                skipped=self._skip(attack, target),
            )
            for level in attack.levels
        ]

    def _knowledge(self, attack: Attack) -> str:
        """What the attacker knows besides the view, e.g. `none`, `known_members 20 % + known_non_members 20 %`."""
        words = [
            word if word == "reference" else f"{word} {attack.known} %" for word in sorted(attack.needs & KNOWABLE)
        ]
        return " + ".join(words) or "none"

    @cached_property
    def _wanted_measures(self) -> tuple[WantedMeasure, ...]:
        quality = self.spec.quality
        wanted = []
        for against in quality.against:
            real = quality.samples if against == "unseen" else self._member_count
            arguments = {"samples": quality.samples, "records": real}
            for name in quality.measures:
                recipe = [FORMAT, name, against, arguments, self.recipe.id, self.split.queries_digest, self.spec.seed]
                wanted.append(WantedMeasure(name, against, content_id(recipe), arguments))
        return tuple(wanted)


def trial_id(trajectory_id: str, steps: int) -> str:
    """A trajectory stopped after so many discriminator updates."""
    return content_id(["trial", trajectory_id, steps])
