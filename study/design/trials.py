"""From a spec to trials: every cell in every replicate, with ids, and what each trial is wanted to hold."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from mia_core import precision
from mia_core.access import Access
from mia_core.attacks import ATTACKS, Attack
from mia_core.data import Membership, Pool, Split
from mia_core.defenses import Arm, accounting
from mia_core.errors import Refused
from mia_core.hashing import FORMAT, array_digest, canonical_json, content_id
from mia_core.metrics.blind import SETTINGS
from mia_core.metrics.extractor import Recipe
from mia_core.settings import Choice
from mia_core.targets import Copycat, Target
from study.spec.factors import Budget, Cell
from study.spec.study_file import AttackEntry, Spec

STUDY, BLIND, NULL, COPYCAT, CANARY = "study", "blind", "null", "copycat", "canary"
"""Roles of trials: the study's own, its controls, and trainings with canaries, which audit private arms."""

ADAPTIVE = "adaptive"
"""The role of a search's own trials, which were chosen by what came out of others: no effect is estimated from them."""

NO_TARGET: Choice[Target] = Choice("none", Copycat, Copycat.Config())
"""What a blind trial has in place of a target; never built."""

COPYCAT_TARGET: Choice[Target] = Choice(COPYCAT, Copycat, Copycat.Config())
"""Built from its training set, by the runner."""

COPIES = 5
"""Samples a training record that a copycat is asked for: all but e^-5 of the records are among them."""

KNOWABLE = frozenset({"reference", "known_members", "known_non_members"})
"""What a study can let an attacker know, besides what the target offers."""

PRDC_WORDS = ("precision", "recall", "density", "coverage")


@dataclass(frozen=True)
class WantedAttack:
    """An attack at one step level: one row of the store. skipped: why it does not fit, or None.

    run_id: the same for all levels of one run, names its random stream. choice: None for what is no attack of the
    registry: the blind classifier, which is told labels, and the search for canaries.
    """

    label: str
    attack_id: str
    run_id: str
    level: int | None
    choice: Choice[Attack] | None
    arguments: dict[str, Any]
    access: Access
    knowledge: str
    generated: int
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
    """A cell in a replicate, at one level of its budget.

    steps: discriminator updates; blind and copycat controls train nothing and have 0. budget: what the level counts.
    """

    trial_id: str
    trajectory_id: str
    cell: Cell
    replicate: int
    steps: int
    attacks: tuple[WantedAttack, ...]
    measures: tuple[WantedMeasure, ...]
    role: str = STUDY
    budget: Budget = "epochs"

    @property
    def epochs(self) -> int | None:
        """Whole epochs; None where the steps end inside of one."""
        whole, rest = divmod(self.steps, self.cell.steps_per_epoch)
        return None if rest else whole

    @property
    def level(self) -> int:
        """Of the budget."""
        return self.steps if self.budget == "steps" else self.steps // self.cell.steps_per_epoch

    @property
    def sampling_rate(self) -> float:
        """Probability of a record in a step of private training."""
        return 1 / self.cell.steps_per_epoch

    @property
    def name(self) -> str:
        """For people: `dcgan n=100 epochs=20 dropout 0.5 replicate=0`, `blind n=100 replicate=0`."""
        if not self.steps:
            return f"{self.role} n={self.cell.train_size} replicate={self.replicate}"
        role = "" if self.role == STUDY else f"{self.role} "
        if self.role == CANARY:
            role = f"{self.attacks[0].label} "
        factors = "".join(f"{name}={level} " for name, level in self.cell.factors.items())
        cell = self.cell
        return (
            f"{role}{cell.target.name} n={cell.train_size} {self.budget}={self.level} {factors}{cell.arm.label} "
            f"replicate={self.replicate}"
        )


class Design:
    """A spec on its data: the split, the extractor's recipe and all trials. ValueError when something does not fit.

    trials: the study's own, the only ones that effects are estimated from (unless a search chose them). controls: the
    others. no_control: why a control is left out, by its name.
    """

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
        self._check_quality()
        self.refused = self._check_cells()
        self._check_attacks()
        self._asked: dict[tuple[str, str, str], list[WantedAttack]] = {}
        self.cells = tuple(cell for cell in spec.cells if (cell.arm.label, cell.target.name) not in self.refused)
        self.trials = tuple(
            self._trial(cell, replicate, level, ADAPTIVE if spec.search else STUDY)
            for replicate in range(spec.replicates)
            for cell in self.cells
            for level in cell.levels
        )
        self.no_control: dict[str, str] = {}
        self.controls = (*self._blind(), *self._null(), *self._copycat(), *self._canary())

    @property
    def hash(self) -> str:
        """Names this design in the store: the spec, on these data, under this format."""
        return content_id([self.spec.resolved, self.pool.digest, FORMAT])

    @property
    def every(self) -> tuple[Trial, ...]:
        """The study's own trials, then its controls."""
        return self.trials + self.controls

    def membership(self, trial: Trial) -> Membership:
        """Training set and queries of a trial."""
        of = self.split.null if trial.role == NULL else self.split.membership
        return of(trial.replicate, trial.cell.train_size)

    @property
    def points(self) -> Iterator[tuple[int, Trial]]:
        """Of a design that draws, each point's number and trial, in every replicate; but for pairs that do not fit."""
        if not self.spec.points:
            return
        trials = {(id(trial.cell), trial.level, trial.replicate): trial for trial in self.trials}
        for replicate in range(self.spec.replicates):
            for number, (cell, level) in enumerate(self.spec.points):
                if trial := trials.get((id(self.spec.cells[cell]), level, replicate)):
                    yield number, trial

    @cached_property
    def trajectories(self) -> dict[str, tuple[Trial, ...]]:
        """Trials by the training run they share, levels ascending."""
        groups: dict[str, list[Trial]] = {}
        for trial in self.every:
            groups.setdefault(trial.trajectory_id, []).append(trial)
        return {name: tuple(trials) for name, trials in groups.items()}

    def epsilon(self, trial: Trial) -> float | None:
        """epsilon(delta) of a trial once it is trained; None for arms without a guarantee."""
        return trial.cell.arm.epsilon(trial.sampling_rate, trial.steps, trial.steps)

    def sigma(self, trial: Trial) -> float | None:
        """The noise multiplier of a trial, found for its steps where its arm gives a target epsilon; None without."""
        return trial.cell.arm.sigma(trial.sampling_rate, trial.steps)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "answers": dict(accounting.ANSWERS)}  # a plan's epsilons, which workers would repeat

    def __setstate__(self, state: dict[str, Any]) -> None:
        accounting.ANSWERS.update(state.pop("answers"))
        self.__dict__.update(state)

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
        if not quality.measures:
            return
        if "unseen" in quality.against and len(self.split.unseen) < quality.samples:
            raise Refused(
                f"quality.samples: {quality.samples} need as many unseen records, and split.unseen has "
                f"{len(self.split.unseen)}"
            )
        if set(quality.measures) & set(PRDC_WORDS) and self._member_count < 6:
            raise Refused("quality.samples: precision, recall, density and coverage need at least 6 samples")
        if self._member_count < 2:
            raise Refused("quality.samples: needs at least 2 samples")
        config = quality.extractor
        if self.recipe.classes < 2 or len(self.split.reference) < 2 * config.features:
            raise Refused(
                f"split.reference: the extractor needs {2 * config.features} labelled records of at least 2 classes, "
                f"got {len(self.split.reference)} of {self.recipe.classes}; or lower quality.extractor.features"
            )

    def _check_cells(self) -> dict[tuple[str, str], str]:
        """Why arms do not fit targets, by label and name; ValueError for an arm that fits no target of the study."""
        self._targets: dict[str, Target] = {}
        reasons: dict[tuple[str, str], str] = {}
        fitting = set()
        built: dict[str, Target] = {}
        for cell in self.spec.cells:
            settings = canonical_json(cell.target.to_dict())
            if settings not in built:
                with torch.device("meta"):
                    built[settings] = cell.target.build(self.pool.image_shape)
            target = self._targets[cell.target.name] = built[settings]
            if reason := cell.arm.hollow(cell.train_size):
                raise Refused(f"factors.defense: {cell.arm.label} with train_size {cell.train_size}: {reason}")
            if reason := cell.arm.refusal(target) or precision.refusal(cell.training.precision, cell.arm):
                reasons[cell.arm.label, cell.target.name] = reason
            else:
                fitting.add((cell.arm.label, cell.target.name))
        arms = {arm for arm, _ in fitting}
        for (label, name), reason in reasons.items():
            # A drawn arm may have met one target only; a study without any fitting cell is refused all the same.
            lost = not fitting if self.spec.points else label not in arms
            if lost or (label, name) in fitting:
                raise Refused(f"factors.defense: {label} with {name}: {reason}")
            if self.spec.design.name == "sobol":
                raise Refused(f"design: sobol needs every point, and {label} does not fit {name}: {reason}")
        return reasons

    def _check_attacks(self) -> None:
        for entry in self.spec.attacks:
            attack = entry.choice.build()
            reasons = {self._skip(attack, target.offers, target.name) for target in self._targets.values()}
            if None not in reasons:
                raise Refused(f"attacks: {entry.label} fits no target of this study: {', '.join(map(str, reasons))}")
            for word in sorted(attack.needs & KNOWABLE):
                if not len(self.known(attack)[word]):
                    setting = "reference" if word == "reference" else "known"
                    raise Refused(f"attacks: {entry.label} needs {word}, and split.{setting} leaves none")

    def _skip(self, attack: Attack, offers: frozenset[str], target: str) -> str | None:
        missing = attack.needs - offers - KNOWABLE
        return f"{target} offers no {', '.join(sorted(missing))}" if missing else None

    def known(self, attack: Attack) -> dict[str, np.ndarray]:
        """Indices of the records that an attacker knows, of the words in `KNOWABLE` it needs."""
        members, non_members = self.split.known(attack.known)
        every = {"reference": self.split.reference, "known_members": members, "known_non_members": non_members}
        return {word: every[word] for word in sorted(attack.needs & KNOWABLE)}

    def _trial(
        self, cell: Cell, replicate: int, level: int, role: str = STUDY, canary: WantedAttack | None = None
    ) -> Trial:
        trained = {
            **self._origin(replicate),
            "target": cell.target.to_dict(),
            "training": cell.training.to_dict(),
            "train_size": cell.train_size,
            "defense": cell.arm.to_list(),
        }
        if role != STUDY:
            trained["role"] = role
        if canary:
            trained["canary"] = canary.arguments
        steps = level * (cell.steps_per_epoch if self.spec.budget == "epochs" else 1)
        if cell.arm.needs_horizon:
            trained["horizon"] = steps
        trajectory_id = content_id(trained)
        return Trial(
            trial_id=trial_id(trajectory_id, steps),
            trajectory_id=trajectory_id,
            cell=cell,
            replicate=replicate,
            steps=steps,
            attacks=(canary,)
            if canary
            else self._wanted_attacks(cell, level, self._queries_digest(cell.train_size, replicate, role)),
            measures=self._wanted_measures if role in (STUDY, ADAPTIVE) else (),
            role=role,
            budget=self.spec.budget,
        )

    def _origin(self, replicate: int) -> dict[str, Any]:
        """What every trial of a replicate depends on."""
        return {
            "format": FORMAT,
            "data": self.pool.digest,
            "split": self.spec.split.to_dict(),
            "seed": self.spec.seed,
            "replicate": replicate,
        }

    # Controls

    @cached_property
    def _control_cells(self) -> tuple[Cell, ...]:
        """One a target and training-set size, of drawn points one a target: without a defense, else the first."""
        groups: dict[tuple[str, int | None], list[Cell]] = {}
        for cell in self.cells:
            groups.setdefault((cell.target.name, None if self.spec.points else cell.train_size), []).append(cell)
        chosen = [min(cells, key=lambda cell: bool(cell.arm.choices)) for cells in groups.values()]
        return tuple(sorted(chosen, key=lambda cell: cell.train_size))

    @property
    def _control_sizes(self) -> list[int]:
        return list(dict.fromkeys(cell.train_size for cell in self._control_cells))

    def _blind(self) -> list[Trial]:
        """One for each set of labels in each replicate, at the smallest train_size that has it."""
        settings = self.spec.controls
        if not settings.blind:
            self.no_control[BLIND] = "switched off"
            return []
        arguments = {"permutations": settings.permutations, **SETTINGS}
        trials: dict[str, Trial] = {}
        for replicate in range(self.spec.replicates):
            for train_size in self._control_sizes:
                judged = self.split.membership(replicate, train_size)
                labels = array_digest(judged.queries, judged.member)
                run_id = content_id([BLIND, FORMAT, arguments, self.split.queries_digest, self.spec.seed])
                wanted = WantedAttack(BLIND, run_id, run_id, None, None, arguments, Access.NONE, "none", 0, None)
                made = {**self._origin(replicate), "role": BLIND, "labels": labels}
                trial = self._untrained(BLIND, NO_TARGET, train_size, replicate, wanted, made)
                trials.setdefault(trial.trial_id, trial)
        return list(trials.values())

    def _null(self) -> list[Trial]:
        """Each target and train_size without a defense (else with the first arm), at all its levels."""
        replicates = min(self.spec.controls.nulls, self.spec.replicates)
        if not replicates or not self.spec.attacks:
            self.no_control[NULL] = "needs an attack" if replicates else "switched off"
            return []
        trials = []
        for cell in self._control_cells:
            if reason := self.split.null_refusal(cell.train_size):
                self.no_control[f"{NULL} n={cell.train_size}"] = f"needs {reason}"
                continue
            levels = [(replicate, level) for replicate in range(replicates) for level in cell.levels]
            trials += [self._trial(cell, *level, NULL) for level in levels]
        return trials

    def _copycat(self) -> list[Trial]:
        """One for each train_size, in replicate 0."""
        if not self.spec.controls.copycat:
            self.no_control[COPYCAT] = "switched off"
            return []
        trials = []
        for train_size in self._control_sizes:
            choice = ATTACKS.choose({"name": "euclidean", "generated": COPIES * train_size})
            entry = AttackEntry(f"{COPYCAT}_euclidean", choice)
            (wanted,) = self._levels(entry, frozenset(), COPYCAT, self.split.queries_digest)
            made = {**self._origin(0), "role": COPYCAT, "train_size": train_size}
            trials.append(self._untrained(COPYCAT, COPYCAT_TARGET, train_size, 0, wanted, made))
        return trials

    def _canary(self) -> list[Trial]:
        """Each cell that claims something, at its last level, once more with canaries among its records."""
        audit = self.spec.audit
        trials = []
        for kind in audit.canaries:
            arguments = {"kind": kind, "count": audit.count}
            run_id = content_id([CANARY, FORMAT, arguments, self.spec.seed])
            label = f"{CANARY}_{kind}"
            wanted = WantedAttack(label, run_id, run_id, None, None, arguments, Access.WHITE_BOX, "none", 0, None)
            trials += [
                self._trial(cell, replicate, cell.levels[-1], CANARY, wanted)
                for cell in self.cells
                if cell.arm.delta is not None
                for replicate in range(audit.trainings)
            ]
        return trials

    def _untrained(
        self, role: str, target: Choice[Target], train_size: int, replicate: int, wanted: WantedAttack, made: Any
    ) -> Trial:
        cell = Cell(train_size, Arm(), target, self.spec.cells[0].training, {})
        trajectory_id = content_id(made)
        return Trial(trial_id(trajectory_id, 0), trajectory_id, cell, replicate, 0, (wanted,), (), role)

    # Attacks and measures

    def _queries_digest(self, train_size: int, replicate: int, role: str) -> str:
        if role != NULL:
            return self.split.queries_digest
        return array_digest(self.split.null(replicate, train_size).queries)[:16]

    def _wanted_attacks(self, cell: Cell, level: int, queries: str) -> tuple[WantedAttack, ...]:
        wanted: list[WantedAttack] = []
        for entry in self.spec.attacks:
            levels = cell.levels[-1:] if entry.at == "last" else entry.at
            if levels is None or level in levels:
                target = self._targets[cell.target.name]
                key = entry.label, target.name, queries
                if key not in self._asked:
                    self._asked[key] = self._levels(entry, target.offers, target.name, queries)
                wanted += self._asked[key]
        return tuple(wanted)

    def _levels(self, entry: AttackEntry, offers: frozenset[str], target: str, queries: str) -> list[WantedAttack]:
        attack = entry.choice.build()
        arguments = {key: value for key, value in entry.choice.arguments().items() if key != attack.nested}
        known = self.known(attack)
        run = {
            "format": FORMAT,
            "attack": entry.choice.name,
            "arguments": arguments,
            "knowledge": "+".join(known) or "none",
            "queries": queries,
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
                access=attack.access,
                knowledge=self._knowledge(attack),
                generated=attack.generated,
                skipped=self._skip(attack, offers, target),
            )
            for level in attack.levels
        ]

    def _knowledge(self, attack: Attack) -> str:
        """What the attacker knows besides the view, e.g. `none`, `known_members 20 % (40)`, with + between."""
        words = [
            word if word == "reference" else f"{word} {attack.known} % ({len(records)})"
            for word, records in self.known(attack).items()
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
