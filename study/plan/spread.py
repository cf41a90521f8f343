"""What replicates can settle of a study's declared contrasts: how far differences between its cells scatter, so far."""

import contextlib
from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd

from mia_core.defenses import labels_of
from mia_core.metrics.influence import Aucs, aucs
from mia_core.metrics.power import Spread
from mia_core.metrics.two_way import two_way_variance
from study.design.looks import declared, declared_by
from study.design.study_design import Design
from study.spec.family import TARGET
from study.store import Damaged, Store
from study.store.reading import tables_by_trial

SEEN = (Spread(0.023), Spread(0.033))
"""Of paired differences of AUC between two cells, as studies of DCGANs had them: used until a study has its own. The
variance between records was not separated in these, and counts as 0.
"""
WORTHWHILE = 0.02
FEWEST = 3
"""Replicates from which a study's own spread is taken."""
CELLS = 8
"""So many cells of a large study are looked at, spread over all."""


def pooled(cells: Aucs) -> Spread | None:
    """Of a difference between two cells, pooled over all pairs; auc [C, R], influence [C, R, m].

    None where fewer than FEWEST replicates are left, or one cell.
    """
    count, replicates = cells.auc.shape
    if replicates < FEWEST or count < 2:
        return None
    pairs = list(combinations(range(count), 2))
    of = [two_way_variance(cells.auc[a] - cells.auc[b], cells.influence[a] - cells.influence[b]) for a, b in pairs]
    between_replicates = np.mean([variance.between_replicates for variance in of])
    between_records = np.mean([variance.between_records for variance in of])
    return Spread(float((between_replicates * replicates) ** 0.5), float(between_records), cells.units)


def own_spread(design: Design, store: Store) -> Spread | None:
    """Of the attack that audits a study, its last level, over judged records; None where too little is sealed.

    Replicates that lack one of the cells are left out.
    """
    cells = _cells(design, store.done())
    if len(cells) > CELLS:
        chosen = np.linspace(0, len(cells) - 1, CELLS).round().astype(int)
        cells = [cells[number] for number in chosen]
    complete = sorted(set.intersection(*(set(cell) for cell in cells))) if cells else []
    if len(complete) < FEWEST or len(cells) < 2 or store.public:
        return None
    try:
        found = _aucs([[cell[replicate] for replicate in complete] for cell in cells], store)
    except Damaged:
        return None
    return None if found is None else pooled(found)


def _cells(design: Design, done: Mapping[str, object]) -> list[dict[int, tuple[str, str]]]:
    """Of each cell and level that has results: trial and attack, by replicate."""
    if not design.cells:
        return []
    places = {id(cell): number for number, cell in enumerate(design.cells)}
    cells: dict[tuple[int, int], dict[int, tuple[str, str]]] = {}
    for trial in design.trials:
        wanted = [item for item in trial.attacks if item.label.partition("_steps")[0] == design.spec.audit.attack]
        have = done.get(trial.trial_id)
        if wanted and wanted[-1].attack_id in getattr(have, "attacks", ()):
            key = places[id(trial.cell)], trial.steps
            cells.setdefault(key, {})[trial.replicate] = (trial.trial_id, wanted[-1].attack_id)
    return list(cells.values())


def _aucs(cells: list[list[tuple[str, str]]], store: Store) -> Aucs | None:
    """auc [C, R] of scores by trial and attack; None where not all judge the same records."""
    rows: dict[tuple[str, str], pd.DataFrame] = {}
    for trial, _, tables in tables_by_trial(store, {trial for cell in cells for trial, _ in cell}, ("scores",)):
        scores = tables["scores"]
        for attack, part in scores[scores["judged"]].groupby("attack_id"):
            rows[trial, str(attack)] = part.sort_values("query")
    parts = [[rows.get(key) for key in cell] for cell in cells]
    first = parts[0][0]
    if first is None:
        return None
    query, unit = first["query"].to_numpy(), first["unit"].to_numpy()
    values = []
    for cell in parts:
        for scores_of in cell:
            if scores_of is None or not np.array_equal(scores_of["query"], query):
                return None
            values.append((scores_of["score"].to_numpy(), scores_of["member"].to_numpy(bool)))
    shape = (len(cells), len(cells[0]), len(query))
    score, member = (np.reshape(column, shape) for column in zip(*values, strict=True))
    return aucs(score, member, None if pd.isna(unit).any() else unit)


def family(design: Design, store: Store) -> int:
    """Declared contrasts of a study, over which the report corrects: each for every declared target and level of
    further factors that has both of its cells. Declared is what the spec has that the store sealed first.
    """
    declaration = declared_by(design.spec.resolved, design.hash)
    if store.place.exists("study.json"):
        with contextlib.suppress(Damaged):  # which the report says
            declaration = declared(store)
    if not declaration.family:  # of levels that are drawn
        return 0
    words = labels_of(design.spec.factors.arms)
    known = declaration.targets_now(design.spec.factors.trained_targets)
    ends = list(declaration.ends(words, known))
    budget = design.spec.budget
    present: dict[str, dict[str, list[dict[str, object]]]] = {}
    for cell in design.cells:
        own = present.setdefault(str(sorted(cell.factors.items())), {}).setdefault(cell.label, [])
        own.extend({"defense": words[cell.arm], "train_size": cell.train_size, budget: level} for level in cell.levels)
    return sum(
        all({**end, TARGET: end.get(TARGET, label)} in cells for end in pair)
        for targets in present.values()
        for cells in [_labeled(targets)]
        for pair in ends
        for label in ([pair[0][TARGET]] if TARGET in pair[0] else set(known.values()) & set(targets))
    )


def _labeled(targets: Mapping[str, list[dict[str, object]]]) -> list[dict[str, object]]:
    return [{**end, TARGET: label} for label, ends in targets.items() for end in ends]
