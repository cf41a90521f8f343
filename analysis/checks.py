"""What is wrong with a study, or missing from it, said before any of its effects."""

import shlex
from collections.abc import Iterator
from itertools import product

import pandas as pd

from analysis.stats.baselines import audits, verdicts
from analysis.stats.effects import AUC, MIN_REPLICATES
from analysis.study_data import VARIANT, StudyData, short
from study.store import read
from study.store.roles import ADAPTIVE, BLIND, STUDIED

NAMED = 5
"""So many cells are named; more are counted."""
LEAST_NON_MEMBERS = 1000
"""Below, a TPR at 1 % FPR is null: fewer than 10 false positives are expected."""


def cautions(data: StudyData, controls: pd.DataFrame | None = None, audited: pd.DataFrame | None = None) -> list[str]:
    """Sentences that a reader must know, the worst first; empty when nothing is wrong.

    controls, audited: the tables `verdicts` and `audits` of `stats.baselines`, where they were computed already.
    """
    judged = verdicts(data) if controls is None else controls
    proved = audits(data) if audited is None else audited
    return [
        *_controls(judged),
        *_audits(proved),
        *_searched(data),
        *_incomplete(data),
        *_replicates(data),
        *_measured(data),
    ]


def _controls(table: pd.DataFrame) -> Iterator[str]:
    if "ok" not in table:
        yield "Controls cannot be judged from a public copy: it has no scores."
        return
    for row in table[table["ok"].eq(False).fillna(False)].itertuples():
        what = row.attack if isinstance(row.attack, str) and row.attack != row.control else "the split"
        yield f"The control {row.control} failed for {what} (AUC {row.auc:.3f}): {row.verdict}."
    failed = table.loc[table["ok"].eq(False).fillna(False), "control"]
    if BLIND in set(failed):
        yield "Leakage is to be read as attack minus blind: part of every AUC needs no target."
    for row in table[table["ok"].isna()].itertuples():
        yield f"The control {row.control} says nothing: {row.verdict}."


def _audits(table: pd.DataFrame) -> Iterator[str]:
    if "ok" in table:
        for row in table[table["ok"].eq(False).fillna(False)].itertuples():
            yield f"A claim of privacy does not hold: {row.arm}, n = {row.train_size}: {row.verdict}."


def _searched(data: StudyData) -> Iterator[str]:
    design = read(data.store.root, data.name, "design")
    count = design.loc[design["role"] == ADAPTIVE, "trial_id"].nunique()
    if count:
        yield (
            f"{count} trials were chosen by a search that had seen others' results: no effect is estimated from them, "
            "and the best of them looks better than it is; "
            f"{shlex.join(['mia-study', 'search', short(data.store), '--confirm', 'POINT'])} makes a study of one."
        )


def _incomplete(data: StudyData) -> Iterator[str]:
    design = read(data.store.root, data.name, "design")
    own = design[design["role"].isin(STUDIED)]
    planned = set(own.loc[own["kind"] == "trial", "trial_id"])
    there = planned & set(data.wide["trial_id"])
    if len(there) < len(planned):
        yield f"The sweep is not complete: {len(there)} of {len(planned)} trials are there."
    wanted = own.loc[own["kind"] == "attack"]
    done = data.wide.groupby("attack")["trial_id"].nunique()
    for label, rows in wanted[wanted["trial_id"].isin(there)].groupby("label", sort=False):
        if done.get(label, 0) < len(rows):
            yield f"{label} has results in {done.get(label, 0)} of {len(rows)} trials only."


def _replicates(data: StudyData) -> Iterator[str]:
    if data.replicates < MIN_REPLICATES:
        yield (
            f"Descriptive only: {data.replicates} replicates, and intervals can be trusted from {MIN_REPLICATES} on."
        )
    if not data.crossed:
        return  # there are points, not cells
    counts = data.wide.groupby(list(data.cell))["replicate"].nunique()
    missing, fewer = [], []
    for variant in data.variants:
        own = data.wide[data.wide[VARIANT] == variant]
        levels = [list(dict.fromkeys(own[name])) for name in data.cell[1:]]
        for arm, size, length in product(*levels):
            count = counts.get((variant, arm, size, length), 0)
            words = f"{variant}, {arm}, n = {size}, {length} {data.budget}"
            if not count:
                missing.append(words)
            elif count < data.replicates:
                fewer.append(f"{words} ({count} of {data.replicates})")
    if missing:
        yield f"Cells are missing, and averages leave out what would pair with them: {_some(missing)}."
    if fewer:
        yield f"Cells have unequal replicates, and each effect uses those that have all of its cells: {_some(fewer)}."


def _measured(data: StudyData) -> Iterator[str]:
    trials = data.wide.drop_duplicates("trial_id")
    flags = trials["flags"].dropna() if "flags" in trials else trials["trial_id"].iloc[:0]
    flags = flags[flags != ""]
    if len(flags):
        yield f"{len(flags)} of {len(trials)} trials are flagged: {_some(sorted(set(flags)))}."
    if data.quality is None:
        yield "No quality was measured: what a defense costs cannot be said."
    judged = data.wide["queries"] * (1 - data.wide["baseline_top_n"])
    if data.wide.get("tpr_at_1pct_fpr", judged * float("nan")).isna().all():
        yield f"TPR at 1 % FPR cannot be told with {judged.max():.0f} non-members: it takes {LEAST_NON_MEMBERS}."
    if (data.wide[AUC] == 1).any():
        yield "Some AUCs are exactly 1: differences between such cells are not seen."


def _some(words: list[str]) -> str:
    more = f"; and {len(words) - NAMED} more" if len(words) > NAMED else ""
    return "; ".join(words[:NAMED]) + more
