"""Whole studies of targets that leak nothing, through the store: what derived attacks find there.

Each study is a design of its own (records, coins, by its seed), whose scores are made: records differ in difficulty,
members do not differ from others. A sweep's passes are sealed, derived attacks are computed and sealed, and the
analysis reads the store.
"""

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from unittest import mock

import numpy as np

from analysis.stats import redrawn
from analysis.stats.inference import mean_of
from analysis.study_data import load
from study.store import Store
from tests.made_scores import design_of, hard_records, write_and_derive

SINGLE = ", ".join(f"{{name: {name}, base: white_box}}" for name in ("calibrated", "lira", "rmia"))
DERIVED = f"derived=[{SINGLE}, ensemble]"
DRAWS = 199
"""Redraws of the coins, of which p needs fewer here than where it is corrected."""
DESIGNS = (
    ("fair coins", ()),
    (
        "coins of .159",
        (
            "factors.train_size=[80]",
            "split={reference: 80, unseen: 40, panel: 440, known: 10, probability: 0.159}",
        ),
    ),
    ("four shadows", ("shadows=4",)),
    (
        "200 never members",
        ("split.extra_non_members=200", "derived=[{name: quantile_regression, base: white_box}]"),
    ),
)
SHARE = 0.8
"""Of the scores' variance that is the records'."""


@dataclass(frozen=True)
class Found:
    """Of one attack in one study: its mean AUC, the two-way interval, and p by redrawn coins, of itself alone."""

    attack: str
    auc: float
    low: float
    high: float
    p: float


def null_study(seed: int, overrides: tuple[str, ...] = ()) -> Iterator[Found]:
    """One study of five replicates; all of its attacks, raw ones too."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder, "small")
        write_and_derive(store, design_of(DERIVED, f"seed={seed}", *overrides), hard_records(SHARE, 0.0, seed))
        data = load(store.uri)
        cell = dict(zip(data.cell, data.last[list(data.cell)].iloc[0], strict=True))
        with mock.patch.object(redrawn, "DRAWS", DRAWS):
            attacks, _, draws = redrawn.coins_of(data, cell)
        p = dict(zip(attacks, draws.of().p, strict=True))
        for attack in attacks:
            mean = mean_of(data, data.attack(attack))
            low, high = map(float, mean.interval())
            yield Found(attack, float(mean.estimate), low, high, float(p[attack]))


@dataclass(frozen=True)
class Summary:
    """Of one attack over studies: the mean AUC and its standard error, and shares of studies, of `studies`."""

    studies: int
    auc: float
    error: float
    covered: float
    shown: float


def summaries(studies: int, overrides: tuple[str, ...] = (), first: int = 0) -> dict[str, Summary]:
    """By attack. covered: of intervals that contain 1/2; shown: of p below 5 %."""
    found: dict[str, list[Found]] = defaultdict(list)
    for seed in range(first, first + studies):
        for one in null_study(seed, overrides):
            found[one.attack].append(one)
    return {
        attack: Summary(
            len(rows),
            float(np.mean([row.auc for row in rows])),
            float(np.std([row.auc for row in rows], ddof=1) / len(rows) ** 0.5),
            float(np.mean([row.low <= 0.5 <= row.high for row in rows])),
            float(np.mean([row.p <= 0.05 for row in rows])),
        )
        for attack, rows in found.items()
    }
