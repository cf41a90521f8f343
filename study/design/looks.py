"""What a study declared before any result, and how often its growing results were looked at: from its store alone.

A family of contrasts that is chosen after a look is no declared one, so it is that of the spec which was sealed first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mia_core.defenses import Arm
from mia_core.hashing import canonical_json
from study.spec.family import Contrast, arms_of, contrasts_of
from study.store import Store

TRAINED = ("seed", "data", "split", "training", "factors", "design", "search", "replicates")
"""Sections of a spec that say which trials there are, and so what a look sees."""


@dataclass(frozen=True)
class Declared:
    """family: the declared contrasts. arms: what their words for arms stand for. hash: of the spec that declared them.

    looks: sets of trials that were wanted one
    after the other, at least 1; `mia_core.metrics.two_way.alpha_of_look` says what the last may spend.
    """

    family: tuple[Contrast, ...]
    arms: Mapping[str, Arm]
    hash: str
    looks: int


def declared(store: Store) -> Declared:
    """Of a study; Refused when there is none, Damaged when its first spec is."""
    sealed = store.sealed_specs()
    name, first = next(iter(sealed.items()))
    return Declared(contrasts_of(first), arms_of(first), name, looks(list(sealed.values())))


def looks(specs: Sequence[Mapping[str, Any]]) -> int:
    """How many of the specs want other trials than those before them: a further attack or measure is no look."""
    return len({canonical_json({name: spec[name] for name in TRAINED if name in spec}) for spec in specs})
