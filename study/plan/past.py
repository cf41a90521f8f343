"""What a study's store says of work that was done: rows of sealed trials, and files with their sizes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from study.store import Damaged, Store
from study.store.marked import trial_of
from study.store.reading import sealed

TABLES = ("trials", "attacks", "quality")
SAMPLE = 200
"""Passes that are looked at of those which no compaction covers yet; they are spread over all."""


@dataclass(frozen=True)
class Past:
    """Rows of every design of a study, sealed so far; of a store without any, empty frames.

    sealed_at: when a trial's pass was sealed, by trial id, of passes that trained. files: bytes of their files, by
    trial id and path. damaged: why rows could not be read, or None.
    """

    trials: pd.DataFrame
    attacks: pd.DataFrame
    quality: pd.DataFrame
    sealed_at: Mapping[str, datetime]
    files: Mapping[str, Mapping[str, int]]
    damaged: str | None = None

    @classmethod
    def none(cls, damaged: str | None = None) -> "Past":
        """Of a study that was never run."""
        return cls(pd.DataFrame(), pd.DataFrame(), pd.DataFrame(), {}, {}, damaged)

    @classmethod
    def of(cls, store: Store) -> "Past":
        """Read a store; one that is damaged says so in `damaged`, and a plan does without it."""
        names = store.passes()
        names = names[:: max(1, -(-len(names) // SAMPLE))]
        if not names:
            return cls.none()
        try:
            trials, attacks, quality = (sealed(store, table, names).to_pandas() for table in TABLES)
            markers = store.markers({trial_of(name) for name in names})
            trained = [marker for name, marker in markers.items() if name in names and marker["work"]["train"]]
        except Damaged as error:
            return cls.none(str(error))
        return cls(trials, attacks, quality, *_of_markers(trained))


def _of_markers(markers: list[dict[str, Any]]) -> tuple[dict[str, datetime], dict[str, dict[str, int]]]:
    return (
        {marker["trial_id"]: datetime.fromisoformat(marker["sealed_at"]) for marker in markers},
        {marker["trial_id"]: {file: seal["bytes"] for file, seal in marker["files"].items()} for marker in markers},
    )
