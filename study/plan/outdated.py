"""Sealed trials that count no more, since the data, or the version of something, is another one now, and which."""

import contextlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

from mia_core.hashing import canonical_json
from study.design.identity import LOOP
from study.design.study_design import Design
from study.design.trial_config import TrialConfig
from study.plan.data_changes import change
from study.spec.of_packages import PACKAGED
from study.store import Damaged, Store
from study.store.reading import sealed

Versions = Mapping[str, int]


def outdated(design: Design, store: Store) -> list[str]:
    """A line for each set of changes, with how many sealed trials of the same settings it concerns."""
    names = store.passes()
    wanted = {
        (_settings(config.values), trial.role): config
        for trial in design.every
        for config in [TrialConfig.of(design, trial)]
    }
    ids = {trial.trial_id for trial in design.every}
    counts: Counter[tuple[str, ...]] = Counter()
    changes: dict[str, str] = {}
    with contextlib.suppress(Damaged):  # which the outlook of the same plan says
        for row in sealed(store, "trials", names).select(["trial_id", "role", "config"]).to_pylist() if names else ():
            then = TrialConfig.parse(row["config"])
            now = wanted.get((_settings(then.values), row["role"]))
            if now is None or row["trial_id"] in ids:
                continue
            why = _changed(then.versions, now.versions)
            if (digest := str(then.values.get("data_digest"))) != design.pool.digest:
                changes[digest] = changes.get(digest) or change(store, digest, design.pool)
                why = (changes[digest], *why)
            if why:
                counts[why] += 1
    return [f"sealed, and count no more: {count} trials ({'; '.join(why)})" for why, count in sorted(counts.items())]


OWN = ("versions", "data_digest", "persons", PACKAGED)
"""What a trial's config says besides its settings."""


def _settings(values: Mapping[str, Any]) -> str:
    kept = {name: value for name, value in values.items() if name not in OWN}
    data = kept.get("data")
    if isinstance(data, Mapping):  # the same data may lie elsewhere
        kept["data"] = {name: value for name, value in data.items() if name not in ("root", "cache", "download")}
    return canonical_json(kept)


def _changed(then: Versions, now: Versions) -> tuple[str, ...]:
    """In words, what has another version."""
    return tuple(
        f"the {'training loop' if name == LOOP else name} is of version {now.get(name, 1)} now, theirs of {before}"
        for name in sorted(then.keys() | now.keys())
        if (before := then.get(name, 1)) != now.get(name, 1)
    )
