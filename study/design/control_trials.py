"""A study's controls as trials: blind, null, copycat, member-only; and trainings with canaries, which audit arms."""

from collections.abc import Sequence

from mia_core.access import Access
from mia_core.attacks import ATTACKS
from mia_core.data import Split
from mia_core.hashing import array_digest
from mia_core.metrics.blind import SETTINGS
from mia_core.model_facts import ModelFacts
from mia_core.models import Copycat
from mia_core.settings import Choice, settings
from mia_core.targets import Target
from study.design import identity
from study.design.making import TrialMaker
from study.design.trials import Trial
from study.design.wanted import FITTED, WantedAttack
from study.spec.attack_entries import AttackEntry
from study.spec.factors import Cell
from study.spec.study_file import Spec
from study.store.roles import BLIND, CANARY, COPYCAT, MEMBER_ONLY, NULL


@settings
class _NothingToSet:
    """Of what stands in place of a target where none is trained, and is never built."""


NO_TARGET: Choice[Target] = Choice("none", Target, _NothingToSet())  # type: ignore[type-abstract]
"""Of a blind trial, which sees no model."""
COPYCAT_TARGET: Choice[Target] = Choice(COPYCAT, Target, _NothingToSet())  # type: ignore[type-abstract]
"""Of a trial that attacks the records themselves, as `mia_core.models.Copycat`."""

COPIES = 5
"""Samples per training record that a copycat is asked for: all but e^-5 of the records are among them."""


class Controls:
    """The controls of one study. cells: those that it trains. left_out: why a control is left out, by its name."""

    def __init__(self, spec: Spec, split: Split, maker: TrialMaker, cells: Sequence[Cell]) -> None:
        self.spec = spec
        self.split = split
        self.maker = maker
        self.cells = cells
        self.left_out: dict[str, str] = {}
        self.undefended = _undefended(cells, by_size=not spec.points)
        self.trials: tuple[Trial, ...] = (
            *(*self._blind(), *self._null(), *self._copycat()),
            *(*self._member_only(), *self._canary()),
        )

    @property
    def _sizes(self) -> list[int]:
        return list(dict.fromkeys(cell.train_size for cell in self.undefended))

    def _blind(self) -> list[Trial]:
        """One for each set of labels in each replicate, at the smallest train_size that has it."""
        settings = self.spec.controls
        if not settings.blind:
            self.left_out[BLIND] = "switched off"
            return []
        arguments = {"permutations": settings.permutations, **SETTINGS}
        run_id = identity.control_id(BLIND, arguments, self.split.queries_digest, self.spec.seed)
        wanted = WantedAttack(BLIND, run_id, run_id, None, None, arguments, Access.NONE, "none", 0, None)
        trials: dict[str, Trial] = {}
        for replicate in range(self.spec.replicates):
            for train_size in self._sizes:
                judged = self.split.membership(replicate, train_size)
                labels = {"labels": array_digest(judged.queries, judged.member)}
                trial = self.maker.untrained(BLIND, NO_TARGET, train_size, replicate, (wanted,), labels)
                trials.setdefault(trial.trial_id, trial)
        return list(trials.values())

    def _null(self) -> list[Trial]:
        """Each target and train_size without a defense (else with the first arm), at all its levels."""
        replicates = min(self.spec.controls.nulls, self.spec.replicates)
        if not replicates or not self.spec.attacks:
            self.left_out[NULL] = "needs an attack" if replicates else "switched off"
            return []
        trials = []
        for cell in self.undefended:
            if reason := self.split.null_refusal(cell.train_size):
                self.left_out[f"{NULL} n={cell.train_size}"] = f"needs {reason}"
                continue
            levels = [(replicate, level) for replicate in range(replicates) for level in cell.levels]
            trials += [self.maker.trained(cell, replicate, level, NULL) for replicate, level in levels]
        return trials

    def _copycat(self) -> list[Trial]:
        """One for each train_size, in replicate 0."""
        if not self.spec.controls.copycat:
            self.left_out[COPYCAT] = "switched off"
            return []
        trials = []
        for train_size in self._sizes:
            choice = ATTACKS.choose({"name": "euclidean", "generated": COPIES * train_size})
            entry = AttackEntry(f"{COPYCAT}_euclidean", choice)
            model = ModelFacts(COPYCAT, Copycat.offers, self.split.pool.image_shape)
            (wanted,) = self.maker.attacks.levels(entry, model, self.split.queries_digest)
            replayed = {"train_size": train_size}
            trials.append(self.maker.untrained(COPYCAT, COPYCAT_TARGET, train_size, 0, (wanted,), replayed))
        return trials

    def _member_only(self) -> list[Trial]:
        """The targets that nulls are compared with, at their last level, under the attacks that are fitted on members
        against non-members; none where the study has no such attack.
        """
        fitted = [entry for entry in self.spec.attacks if entry.choice.build().needs >= FITTED]
        if not fitted:
            return []
        settings, name = self.spec.controls, MEMBER_ONLY
        replicates = min(settings.nulls, self.spec.replicates)
        if not settings.member_only or not replicates or self.spec.search:
            self.left_out[name] = "a search has no fixed trials" if self.spec.search else "switched off"
            return []
        trials = []
        for cell in self.undefended:
            for replicate in range(replicates):
                judged = self.split.member_only(replicate, cell.train_size)
                if judged.member.all() or any(
                    not len(half) for entry in fitted for half in self.split.known_halves(entry.choice.build().known)
                ):
                    self.left_out[f"{name} n={cell.train_size}"] = "needs two members that are judged, and two known"
                    continue
                digest = array_digest(judged.queries, judged.member)[:16]
                of = self.maker.trained(cell, replicate, cell.levels[-1])
                facts = self.maker.targets[cell.target].facts
                wanted = [
                    item
                    for entry in fitted
                    for item in self.maker.attacks.levels(entry, facts, digest, relabelled=True)
                    if item.skipped is None
                ]
                trials += [self.maker.member_only(of, tuple(wanted))] if wanted else []
        return trials

    def _canary(self) -> list[Trial]:
        """Each cell that claims something, at its last level, once more with canaries among its records."""
        audit = self.spec.audit
        trials = []
        for kind in audit.canaries:
            arguments = {"kind": kind, "count": audit.count}
            run_id = identity.control_id(CANARY, arguments, self.spec.seed)
            label = f"{CANARY}_{kind}"
            wanted = WantedAttack(label, run_id, run_id, None, None, arguments, Access.WHITE_BOX, "none", 0, None)
            trials += [
                self.maker.trained(cell, replicate, cell.levels[-1], CANARY, wanted)
                for cell in self.cells
                if cell.arm.delta is not None
                for replicate in range(audit.trainings)
            ]
        return trials


def _undefended(cells: Sequence[Cell], by_size: bool) -> tuple[Cell, ...]:
    """A cell per target, and per training-set size where cells are crossed: without a defense, else the first."""
    groups: dict[tuple[str, int | None], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.label, cell.train_size if by_size else None), []).append(cell)
    chosen = [min(group, key=lambda cell: bool(cell.arm.choices)) for group in groups.values()]
    return tuple(sorted(chosen, key=lambda cell: cell.train_size))
