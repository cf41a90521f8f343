"""What a trial is wanted to hold: attacks at their levels, and quality measures, with their ids."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mia_core.access import Access
from mia_core.attacks import RECORDS, Attack
from mia_core.data import Split
from mia_core.hashing import array_digest
from mia_core.metrics.copies import fewest_unseen, rank_of
from mia_core.metrics.exact_copies import EXACT
from mia_core.metrics.extraction import EXTRACTION
from mia_core.metrics.extractor import Recipe
from mia_core.metrics.onnx_extractor import OnnxExtractor
from mia_core.model_facts import ModelFacts
from mia_core.settings import Choice
from mia_core.targets import Target
from study.design import identity
from study.spec.attack_entries import AttackEntry
from study.spec.factors import Cell
from study.spec.objectives import EXTRACTOR as DOMAIN
from study.spec.objectives import ONNX, PIXELS
from study.spec.study_file import Spec


@dataclass(frozen=True)
class WantedAttack:
    """An attack at one level: one row of the store. skipped: why it does not fit, or None.

    run_id: the same for all levels of one run, names its random stream. level: of the setting that is the attack's
    `nested`. choice: None for what is no attack of the registry: the blind classifier, which learns from labels, and
    the search for canaries.
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

    @property
    def takes_extractor(self) -> bool:
        """Whether its run takes the study's feature network."""
        return self.choice is not None and self.skipped is None and EXTRACTOR in self.choice.build().needs

    @property
    def steps(self) -> int | None:
        """Of attack training, where levels count these."""
        return self.level if self.choice and self.choice.cls.nested == "steps" else None


def runs(wanted: Iterable[WantedAttack]) -> list[list[WantedAttack]]:
    """Attacks by run, levels of a run ascending; those that are skipped apart."""
    found: dict[tuple[str, str | None], list[WantedAttack]] = {}
    for item in wanted:
        found.setdefault((item.run_id, item.skipped), []).append(item)
    return [sorted(levels, key=lambda item: item.level or 0) for levels in found.values()]


@dataclass(frozen=True)
class WantedMeasure:
    """A quality measure against one set of real records. extractor: of its features, or `pixels`, or `onnx`."""

    name: str
    against: str
    measure_id: str
    arguments: dict[str, Any]
    extractor: str = DOMAIN

    @property
    def label(self) -> str:
        """As a design names it: `kid_unseen`, `copies_pixels_members`."""
        return (
            f"{self.name}_{self.against}"
            if self.extractor == DOMAIN
            else f"{self.name}_{self.extractor}_{self.against}"
        )


EXTRACTOR = "extractor"
"""What an attacker knows where the study's feature network is used."""
FITTED = frozenset({"known_members", "known_non_members"})
"""What an attack needs that is fitted on members against non-members."""


class Attacks:
    """The attacks of a spec, on a split."""

    def __init__(self, spec: Spec, split: Split, recipe: Recipe) -> None:
        self.spec = spec
        self.split = split
        self.recipe = recipe
        self._made: dict[tuple[Any, ...], list[WantedAttack]] = {}

    def known(self, attack: Attack) -> dict[str, np.ndarray]:
        """Indices of the records that an attacker knows, of the words it needs."""
        members, non_members = self.split.known(attack.known)
        every = {"reference": self.split.reference, "known_members": members, "known_non_members": non_members}
        return {word: every[word] for word in sorted(attack.needs & RECORDS)}

    def relabelled(self, attack: Attack) -> dict[str, np.ndarray]:
        """The same, of two halves of the known members, the second taken for non-members."""
        members, non_members = self.split.known_halves(attack.known)
        return {**self.known(attack), "known_members": members, "known_non_members": non_members}

    def of(self, cell: Cell, level: int, target: Target, queries: str) -> tuple[WantedAttack, ...]:
        """Those of a cell's trials at a level of the budget. queries: digest of the records that are judged."""
        wanted: list[WantedAttack] = []
        for entry in self.spec.attacks:
            levels = cell.levels[-1:] if entry.at == "last" else entry.at
            if levels is None or level in levels:
                key = entry.label, target.facts, queries
                if key not in self._made:
                    self._made[key] = self.levels(entry, target.facts, queries)
                wanted += self._made[key]
        return tuple(wanted)

    def levels(
        self,
        entry: AttackEntry,
        model: ModelFacts,
        queries: str,
        relabelled: bool = False,
    ) -> list[WantedAttack]:
        """One attack on a model, once for each of its levels. relabelled: as of that.

        A level of samples has the id of an attack that draws so many and knows no levels: its run serves any numbers.
        So has a group of parameters.
        """
        attack = entry.choice.build()
        of_samples, alone = attack.nested == "generated", attack.nested in ("generated", "group")
        arguments = {key: value for key, value in entry.choice.arguments().items() if key != attack.nested}
        known = self.relabelled(attack) if relabelled else self.known(attack)
        recipe: dict[str, Any] = {
            "attack": entry.choice.name,
            "arguments": arguments,
            "knowledge": "+".join(sorted(attack.needs)) or "none",
            "queries": queries,
        }
        if known:
            recipe["known"] = array_digest(*known.values())
        if EXTRACTOR in attack.needs:
            recipe["extractor"] = self.recipe.id
        made = partial(identity.attack_run, seed=self.spec.seed, choice=entry.choice)
        run = made(recipe if alone else {**recipe, "generated": attack.generated})
        wanted = []
        for level, label in zip(attack.levels, entry.labels, strict=True):
            own = arguments if attack.nested is None else {**arguments, attack.nested: level}
            own_run = made({**recipe, "arguments": own, "generated": level if of_samples else attack.generated})
            wanted.append(
                WantedAttack(
                    label=label,
                    attack_id=identity.attack_id(own_run, None) if alone else identity.attack_id(run, level),
                    run_id=identity.run_id(run),
                    level=level,
                    choice=entry.choice,
                    arguments=own,
                    access=attack.access,
                    knowledge="two halves of " + self._words(attack) if relabelled else self._words(attack),
                    generated=level if of_samples and level else attack.generated,
                    skipped=attack.unfit(model) or self._unknowable(attack),
                )
            )
        return wanted

    def _unknowable(self, attack: Attack) -> str | None:
        """Why nobody can know what the attack needs, or None. What a trained study lacks is refused beforehand."""
        if self.spec.release is not None and (lacking := self.lacking(attack)):
            return lacking
        if EXTRACTOR not in attack.needs:
            return None
        reason = self.recipe.refusal(len(self.split.reference))
        return reason and f"the extractor of reference records {reason}"

    def lacking(self, attack: Attack) -> str | None:
        """Which records the attacker does not have, or has too few of, or None."""
        for word, records in self.known(attack).items():
            if len(records) and self._different(records) < attack.fewest:
                there = "there is 1" if len(records) == 1 else f"all {len(records)} are the same image"
                return f"needs {attack.fewest} {word} records that differ, and {there}"
            if not len(records):
                return self._none(word, attack.known)
        return None

    def _none(self, word: str, known: int) -> str:
        if self.spec.release is not None:
            return "no reference records were given" if word == "reference" else f"there are no {word} to know"
        if word == "reference":
            return "needs reference, and split.reference leaves none"
        return f"needs {word}, and {known} % of the smallest train_size {self.split.smallest} is no record"

    def _different(self, records: np.ndarray) -> int:
        """1 if all of these records are the same image, else 2."""
        images = self.split.pool.images
        return 1 + any(not np.array_equal(images[records[0]], images[other]) for other in records[1:])

    def _words(self, attack: Attack) -> str:
        """What the attacker knows besides the view, e.g. `none`, `known_members 20 % (40)`, with + between."""
        records = self.known(attack)
        words = [
            f"{word} {attack.known} % ({len(records[word])})" if word in FITTED else word
            for word in sorted(attack.needs)
        ]
        return " + ".join(words) or "none"


ONE_CLASS = (
    "the feature network learns to tell classes apart, and all images are of one class; sub-folders, or a table named "
    "by data.labels, would give several"
)


class Measures:
    """The quality measures of a spec, the same in every trial of the study.

    skipped: why those that need the feature network are not measured, or None.
    """

    def __init__(self, spec: Spec, split: Split, recipe: Recipe) -> None:
        self.spec = spec
        self.split = split
        near = spec.quality.of_copies or spec.quality.of_members
        compared = spec.quality.of_samples and spec.quality.space == DOMAIN
        takes_network = compared or spec.quality.of_labels or (near and DOMAIN in spec.quality.copies.extractors)
        self.skipped = ONE_CLASS if takes_network and len(np.unique(split.pool.labels)) < 2 else None
        self.members = min(spec.quality.samples, min(spec.train_sizes))
        """Members that samples are compared with, as many in every trial."""
        self.unseen_persons = len(np.unique(split.pool.units[split.unseen]))
        self.by_person = self.unseen_persons < len(split.unseen)
        """Whether an unseen person has several records, so that copies are calibrated person by person."""
        self.versions = identity.measures(spec, self.by_person)
        quality = spec.quality
        shape = split.pool.image_shape
        given = None if quality.onnx is None else OnnxExtractor(quality.onnx, shape)
        self.onnx = given.digest if given else None
        """sha256 of the network that the user gives."""
        self.dimensions = {PIXELS: math.prod(shape), DOMAIN: quality.extractor.features}
        """Of the space of each extractor."""
        if given:
            self.dimensions[ONNX] = given.num_features
        self._ids = {PIXELS: PIXELS, DOMAIN: recipe.id, ONNX: self.onnx}
        self.wanted: tuple[WantedMeasure, ...] = tuple(
            WantedMeasure(
                name,
                against,
                identity.measure_id(
                    *(name, against, arguments, self.versions, self._ids[quality.space]),
                    *(split.queries_digest, spec.seed),
                ),
                arguments,
                quality.space,
            )
            for against in quality.against
            for arguments in [
                {"samples": quality.samples, "records": quality.samples if against == "unseen" else self.members}
            ]
            for name in (() if self.skipped and quality.space == DOMAIN else quality.of_samples)
        )
        further = (*self._near_members(), *self._synthetic())
        self.wanted = (*self.wanted, *self._copies(), *further, *self._exact())

    @property
    def no_copies(self) -> str | None:
        """Why copies are not looked for, or None."""
        copies = self.spec.quality.copies
        if not self.spec.quality.of_copies:
            return "not in quality.measures"
        if not_calibrated := self._not_calibrated():
            return not_calibrated
        smallest = min(self.spec.train_sizes)
        if smallest <= copies.neighbors:
            return f"quality.copies.neighbors of {copies.neighbors} take more than {smallest} members"
        return None

    def _not_calibrated(self) -> str | None:
        """Why unseen records give no threshold, or None."""
        copies, unseen = self.spec.quality.copies, self.unseen_persons
        if not rank_of(copies.alpha, unseen):
            who = "persons" if self.by_person else "records"
            there = f"split.unseen has {unseen}"
            if self.spec.release is not None:
                there = f"there are {unseen} among the non-members that are judged"
            return (
                f"a false-copy rate of {copies.alpha:g} takes {fewest_unseen(copies.alpha)} unseen {who}, and {there}"
            )
        return None

    @property
    def no_extraction(self) -> str | None:
        """Why repeated samples are not looked for, or None."""
        wanted = set(self.spec.quality.of_members) & set(EXTRACTION)
        return self._not_calibrated() if wanted else "not in quality.measures"

    def _copies(self) -> tuple[WantedMeasure, ...]:
        if self.no_copies:
            return ()
        quality, split = self.spec.quality, self.split
        copies = quality.copies
        arguments = {
            "samples": quality.samples,
            "alpha": copies.alpha,
            "neighbors": copies.neighbors,
            "unseen": len(split.unseen),
            **({"unseen_persons": self.unseen_persons} if self.by_person else {}),
        }
        depends_on = split.queries_digest, self.spec.seed
        return tuple(
            WantedMeasure(
                name,
                "members",
                identity.measure_id(name, "members", arguments, self.versions, self._ids[extractor], *depends_on),
                arguments,
                extractor,
            )
            for extractor in copies.extractors
            if not (self.skipped and extractor == DOMAIN)
            for name in quality.of_copies
        )

    def _near_members(self) -> Iterator[WantedMeasure]:
        """What was extracted, and how many samples are authentic."""
        quality, split = self.spec.quality, self.split
        calibrated = {
            "alpha": quality.copies.alpha,
            "repeats": quality.copies.repeats,
            "unseen": len(split.unseen),
            "unseen_persons": self.unseen_persons,
        }
        for extractor in quality.copies.extractors:
            for name in quality.of_members if not (self.skipped and extractor == DOMAIN) else ():
                if not (name in EXTRACTION and self.no_extraction):
                    arguments = {"samples": quality.samples, **(calibrated if name in EXTRACTION else {})}
                    depends_on = self._ids[extractor], split.queries_digest, self.spec.seed
                    measure_id = identity.measure_id(name, "members", arguments, self.versions, *depends_on)
                    yield WantedMeasure(name, "members", measure_id, arguments, extractor)

    def _synthetic(self) -> Iterator[WantedMeasure]:
        arguments = {"samples": self.spec.quality.samples, "records": len(self.split.unseen)}
        depends_on = self._ids[DOMAIN], self.split.queries_digest, self.spec.seed
        for name in () if self.skipped else self.spec.quality.of_labels:
            measure_id = identity.measure_id(name, "unseen", arguments, self.versions, *depends_on)
            yield WantedMeasure(name, "unseen", measure_id, arguments)

    def _exact(self) -> Iterator[WantedMeasure]:
        """Samples of a release that equal a member, which are looked for in any case."""
        if self.spec.release is None:
            return
        arguments = {"samples": self.spec.quality.samples}
        for name in EXACT:
            measure_id = identity.measure_id(
                name, "members", arguments, self.versions, PIXELS, self.split.queries_digest
            )
            yield WantedMeasure(name, "members", measure_id, arguments, PIXELS)

    def records(self, against: str, replicate: int, train_size: int) -> np.ndarray:
        """Indices of the real records that samples are compared with: `unseen` ones, or `members`."""
        if against == "unseen":
            return self.split.unseen[: self.spec.quality.samples]
        members = self.split.membership(replicate, train_size).train
        order = self.split.streams.numpy("quality", replicate).permutation(len(members))
        return members[order[: self.members]]
