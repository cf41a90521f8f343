"""What a study declared before any result, and how often its growing results were looked at: from its store alone.

A family of contrasts that is chosen after a look is no declared one, so it is that of the spec which was sealed first.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mia_core.defenses import Arm
from mia_core.hashing import canonical_json
from study.spec.family import TARGET, Contrast, arms_of, contrasts_of, targets_of
from study.store import Store

End = dict[str, Any]

TRAINED = ("seed", "data", "split", "training", "factors", "design", "search", "replicates")
"""Sections of a spec that say which trials there are, and so what a look sees."""


@dataclass(frozen=True)
class Declared:
    """family: the declared contrasts. arms, targets: what their words for arms and labels for targets stand for, see
    `arms_of` and `targets_of`. hash: of the spec that declared them. looks: sets of trials that were wanted one after
    the other, at least 1; `mia_core.metrics.two_way.alpha_of_look` says what the last may spend.
    """

    family: tuple[Contrast, ...]
    arms: Mapping[str, Arm]
    targets: Mapping[str, str]
    hash: str
    looks: int

    def targets_now(self, now: Mapping[str, str]) -> dict[str, str]:
        """The labels that the declared targets have in a spec, by the labels they had; without those it lacks.

        now: `targets_of` that spec. A target whose settings changed is found by its label.
        """
        by_settings = {settings: label for label, settings in now.items()}
        found = {label: by_settings[settings] for label, settings in self.targets.items() if settings in by_settings}
        left = set(now) - set(found.values())
        return found | {label: label for label in self.targets if label not in found and label in left}

    def ends(self, arms: Mapping[Arm, str], targets: Mapping[str, str]) -> Iterator[tuple[End, End]]:
        """Both cells of each contrast, levels by factor, in the words that arms and targets have now; without those
        of which a spec lacks one. targets: as of `targets_now`.
        """
        for contrast in self.family:
            ends = [
                {
                    **end,
                    "defense": arms.get(self.arms[str(end["defense"])]),
                    **({TARGET: targets.get(str(end[TARGET]))} if TARGET in end else {}),
                }
                for end in contrast.ends
            ]
            if not any(level is None for end in ends for level in end.values()):
                yield ends[0], ends[1]


def declared(store: Store) -> Declared:
    """Of a study; Refused when there is none, Damaged when its first spec is."""
    sealed = store.sealed_specs()
    name, first = next(iter(sealed.items()))
    return declared_by(first, name, looks(list(sealed.values())))


def declared_by(resolved: Mapping[str, Any], name: str, count: int = 1) -> Declared:
    """By a resolved spec of that hash, which was looked at so often."""
    return Declared(contrasts_of(resolved), arms_of(resolved), targets_of(resolved), name, count)


def looks(specs: Sequence[Mapping[str, Any]]) -> int:
    """How many of the specs want other trials than those before them: a further attack or measure is no look."""
    return len({canonical_json(_trained(spec)) for spec in specs})


def _trained(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The sections that say which trials there are; a target's label says nothing of that."""
    sections = {name: spec[name] for name in TRAINED if name in spec}
    factors = sections.get("factors")
    if isinstance(factors, Mapping) and isinstance(factors.get("target"), list):
        targets = [
            {key: value for key, value in target.items() if key != "label"} if isinstance(target, Mapping) else target
            for target in factors["target"]
        ]
        sections["factors"] = {**factors, "target": targets}
    return sections
