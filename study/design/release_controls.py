"""The controls of a release, as trials: blind on pixels and on files, copycat, member-only, held-out non-members."""

from dataclasses import replace

import numpy as np

from mia_core.access import Access
from mia_core.attacks import ATTACKS
from mia_core.data import Split
from mia_core.data.file_facts import FACTS
from mia_core.data.given_split import Given
from mia_core.hashing import array_digest
from mia_core.metrics.blind import SETTINGS
from mia_core.model_facts import ModelFacts
from mia_core.models import Copycat, SampleFolder
from study.design import identity
from study.design.control_trials import COPIES, COPYCAT_TARGET, NO_TARGET
from study.design.making import TrialMaker
from study.design.trials import Trial
from study.design.wanted import FITTED, WantedAttack
from study.spec.attack_entries import AttackEntry
from study.spec.release_study import all_of
from study.spec.study_file import Spec
from study.store.roles import BLIND, BLIND_FILES, COPYCAT, HELD_OUT, MEMBER_ONLY


class ReleaseControls:
    """of: the trial of the release. facts: of the release. left_out: why a control is left out, by its name."""

    def __init__(self, spec: Spec, split: Split, maker: TrialMaker, of: Trial, facts: ModelFacts) -> None:
        assert isinstance(split, Given)
        self.spec = spec
        self.split = split
        self.maker = maker
        self.of = of
        self.facts = facts
        self.left_out: dict[str, str] = {}
        self.trials: tuple[Trial, ...] = (
            *(*self._blind(BLIND), *self._blind(BLIND_FILES)),
            *(*self._copycat(), *self._member_only(), *self._held_out()),
        )

    @property
    def _size(self) -> int:
        return self.split.smallest

    def _blind(self, role: str) -> list[Trial]:
        """Members against non-members, by their pixels or by facts of their files."""
        settings, given = self.spec.controls, self.maker.pool.given
        assert given is not None
        if not settings.blind:
            self.left_out[role] = "switched off"
            return []
        arguments = {"permutations": settings.permutations, **SETTINGS}
        judged = self.split.membership(0, self._size)
        made_of = {"labels": array_digest(judged.queries, judged.member)}
        if role == BLIND_FILES:
            if given.facts is None:
                self.left_out[role] = "no files: records are arrays"
                return []
            arguments |= {"facts": len(FACTS)}
            made_of["facts"] = array_digest(given.facts)
        run_id = identity.control_id(role, arguments, self.split.queries_digest, self.spec.seed)
        wanted = WantedAttack(role, run_id, run_id, None, None, arguments, Access.NONE, "none", 0, None)
        return [self.maker.untrained(role, NO_TARGET, self._size, 0, (wanted,), made_of)]

    def _copycat(self) -> list[Trial]:
        """A generator that replays the members, which distances must find."""
        if not self.spec.controls.copycat:
            self.left_out[COPYCAT] = "switched off"
            return []
        choice = ATTACKS.choose({"name": "euclidean", "generated": COPIES * self._size})
        entry = AttackEntry(f"{COPYCAT}_euclidean", choice)
        model = replace(self.facts, name=COPYCAT, offers=Copycat.offers)
        wanted = self.maker.attacks.levels(entry, model, self.split.queries_digest)
        replayed = {"train_size": self._size}
        return [self.maker.untrained(COPYCAT, COPYCAT_TARGET, self._size, 0, tuple(wanted), replayed)]

    def _member_only(self) -> list[Trial]:
        """The release under attacks that are fitted on known members or non-members: on two halves of the known
        members, judged by two halves of the other members, it must be at 1/2.
        """
        fitted = [entry for entry in self.spec.attacks if entry.choice.build().needs & FITTED]
        if not fitted:
            return []
        if not (self.spec.controls.member_only and self.spec.controls.nulls):
            self.left_out[MEMBER_ONLY] = "switched off"
            return []
        judged = self.split.member_only(0, self._size)
        halves = [self.split.known_halves(entry.choice.build().known) for entry in fitted]
        if judged.member.all() or any(not len(half) for pair in halves for half in pair):
            self.left_out[MEMBER_ONLY] = "needs two members that are judged, and two known"
            return []
        digest = array_digest(judged.queries, judged.member)[:16]
        wanted = [
            item
            for entry in fitted
            for item in self.maker.attacks.levels(entry, self.facts, digest, relabelled=True)
            if item.skipped is None
        ]
        return [self.maker.member_only(self.of, tuple(wanted))] if wanted else []

    def _held_out(self) -> list[Trial]:
        """Half of the non-members in place of samples: attacks by distances find nothing, if non-members are such
        records as members are.
        """
        if not self.spec.controls.nulls:
            self.left_out[HELD_OUT] = "switched off"
            return []
        stand_in, judged = self.split.held_out(0)
        if judged.member.all() or not judged.member.any() or len(stand_in) < 2:
            self.left_out[HELD_OUT] = "needs four non-members that are judged"
            return []
        digest = array_digest(judged.queries, judged.member, stand_in)[:16]
        model = replace(self.facts, name=HELD_OUT, offers=SampleFolder.offers)
        wanted: dict[str, WantedAttack] = {}
        for entry in self.spec.attacks:
            attack = entry.choice.build()
            if attack.nested != "generated" or attack.uses != SampleFolder.offers or attack.needs & FITTED:
                continue
            alike = all_of(replace(entry, label=HELD_OUT), len(stand_in))
            stem = entry.label.replace(f"_generated{attack.generated}", "")
            alike = replace(alike, label=f"{HELD_OUT}_{stem}")
            for item in self.maker.attacks.levels(alike, model, digest):
                if item.skipped is None:
                    wanted[item.attack_id] = item
        if not wanted:
            self.left_out[HELD_OUT] = "no attack by samples alone is in the study"
            return []
        made_of = {"stand_in": array_digest(np.sort(stand_in))}
        return [self.maker.untrained(HELD_OUT, NO_TARGET, self._size, 0, tuple(wanted.values()), made_of)]
