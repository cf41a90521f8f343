"""Sealed trials that count no more, since something that determines them has another version now, and which."""

import contextlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

from mia_core.hashing import canonical_json
from study.design.identity import LOOP
from study.design.study_design import Design
from study.design.trial_config import TrialConfig
from study.store import Damaged, Store
from study.store.reading import sealed

Versions = Mapping[str, int]


def outdated(design: Design, store: Store) -> list[str]:
    """A line for each set of versions that changed, with how many sealed trials of the same settings it concerns."""
    names = store.passes()
    wanted = {
        (_settings(config.values), trial.role): config.versions
        for trial in design.every
        for config in [TrialConfig.of(design, trial)]
    }
    ids = {trial.trial_id for trial in design.every}
    counts: Counter[tuple[str, ...]] = Counter()
    with contextlib.suppress(Damaged):  # which the outlook of the same plan says
        for row in sealed(store, "trials", names).select(["trial_id", "role", "config"]).to_pylist() if names else ():
            then = TrialConfig.parse(row["config"])
            now = wanted.get((_settings(then.values), row["role"]))
            if now is not None and row["trial_id"] not in ids and (why := _changed(then.versions, now)):
                counts[why] += 1
    return [f"sealed, and count no more: {count} trials ({'; '.join(why)})" for why, count in sorted(counts.items())]


def _settings(values: Mapping[str, Any]) -> str:
    return canonical_json({name: value for name, value in values.items() if name != "versions"})


def _changed(then: Versions, now: Versions) -> tuple[str, ...]:
    """In words, what has another version."""
    return tuple(
        f"the {'training loop' if name == LOOP else name} is of version {now.get(name, 1)} now, theirs of {before}"
        for name in sorted(then.keys() | now.keys())
        if (before := then.get(name, 1)) != now.get(name, 1)
    )
