"""The verdict: sentences chosen by rules from a study's numbers, and whether to believe them.

They are about the declared attack, and start at one cell that is fixed before anything is looked at: the first
published network (else the first variant), without a defense, the smallest training set, the most training. Defenses
are compared where they were trained: there, or on the first variant that has any. Whether leakage is shown is stated
for every cell after the last level of training, by the strongest of all attacks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

from analysis.format import effect as effect_words
from analysis.format import epsilon as epsilon_words
from analysis.format import percent, replicates
from analysis.report.provenance import Number, difference, in_cell, mean
from analysis.report.shown import DATA, call
from analysis.report.sources import SCORES, Cited, source
from analysis.sentences import filled, line
from analysis.stats.declared import declared
from analysis.stats.guarantees import NO_PERSON, guarantees
from analysis.stats.inference import AUC, TPR, over_looks
from analysis.stats.redrawn import leakage_shown, strongest, words_of
from analysis.stats.tradeoff import equal_quality
from analysis.study_data import ARM, VARIANT, StudyData, words_of_measure
from mia_core.metrics.two_way import MIN_REPLICATES
from mia_core.persons import PERSON
from study.store.noise import is_guessable
from study.verdicts.controls import ALPHA, holm

SOUND, CAREFUL, FAILED = "sound", "careful", "failed"
TOLERATED = 0.25
"""The share of a distance's own value that a defense may add and be said to cost hardly any quality."""
EMPTY = 0.99
"""The largest TPR at 1 % FPR from which on a guarantee is said to limit nobody."""
DISTANCE = ", a distance from real records"
"""Said of a measure of quality where it is named first: all that stand for quality are distances."""
SEES = {
    "NONE": "sees nothing of the model",
    "SAMPLES": "sees generated samples only",
    "LATENT": "chooses the inputs of the generator",
    "GENERATOR": "has the generator",
    "WHITE_BOX": "has the whole trained model",
}
NAMED = 3
"""So many cells are named; more are counted."""
"""What an attacker sees, by the least access that an attack needs."""
Sentence = tuple[str | Number | Cited, ...]
"""Words and numbers, in order; a number shows with its interval."""


@dataclass(frozen=True)
class Change:
    """What one other level gives: its leakage, its difference of a cell's, and the same of quality (null without).

    cell: that it is a change of. p_holm: as of the declared contrast that this is, or corrected over the verdict's
    other changes, which none is.
    """

    cell: dict[str, Any]
    factor: str
    level: Any
    leakage: Number
    by: Number
    quality: Number | None
    cost: Number | None
    p_holm: float

    @property
    def clear(self) -> bool:
        """Whether the change of leakage is established."""
        return self.by.settled and self.p_holm < ALPHA


@dataclass(frozen=True)
class Verdict:
    """standing: SOUND, CAREFUL or FAILED, and why. start: leakage where it is expected to be most; quality: there.

    base: the cell that defenses are compared with; `cell`, unless that one's variant was trained without any.
    """

    standing: str
    reasons: tuple[str, ...]
    sentences: tuple[Sentence, ...]
    attack: str
    cell: dict[str, Any]
    base: dict[str, Any]
    start: Number
    quality: Number | None
    changes: tuple[Change, ...]


def verdict(data: StudyData, controls: pd.DataFrame, audits: pd.DataFrame, missing: int = 0) -> Verdict:
    """controls, audits: tables of verdicts, with a column `ok` where any are. missing: trials that are not there."""
    attack = data.primary
    cell = _start(data, attack)
    start = mean(data, AUC, attack, cell)
    assert start is not None
    quality = mean(data, data.quality, attack, cell) if data.quality else None
    base = _base(data, attack, cell)
    changes = _changes(data, attack, cell, base)
    what_changes = _what_changes(data, changes, cell)
    explained = any(isinstance(part, str) and DISTANCE in part for part in what_changes)
    protection = _what_protects(data, attack, changes, base, explained)
    if base != cell:
        protection = (*_compared_on(data, attack, base), *protection)
    sentences = (_how_much(data, start, cell), what_changes, protection, *_all_cells(data), _not_tried(data))
    standing, reasons, sentences = judged(sentences, failures(controls, audits), doubts(data, controls, missing))
    return Verdict(standing, reasons, sentences, attack, cell, base, start, quality, changes)


def judged(
    sentences: tuple[Sentence, ...], failures: list[str], doubts: list[str]
) -> tuple[str, tuple[str, ...], tuple[Sentence, ...]]:
    """The standing, its reasons, and the sentences: what failed goes before what it takes back."""
    if failures:
        sentences = (filled("failed", failure=failures[0]), *sentences[:2])
    standing = FAILED if failures else CAREFUL if doubts else SOUND
    return standing, (*failures, *doubts), sentences


def failures(controls: pd.DataFrame, audits: pd.DataFrame) -> list[str]:
    """What failed, in words."""
    found = [f"control {row.control} {row.attack}: {row.verdict}" for row in _failed(controls)]
    return found + [f"audit of {row.arm}, n = {row.train_size}: {row.verdict}" for row in _failed(audits)]


def _start(data: StudyData, attack: str) -> dict[str, Any]:
    rows = data.attack(attack)
    there = set(rows[VARIANT])
    cell: dict[str, Any] = {VARIANT: next(name for name in (*data.published, *data.variants) if name in there)}
    return _most_trained(data, rows, cell)


def _base(data: StudyData, attack: str, start: dict[str, Any]) -> dict[str, Any]:
    """The cell that defenses are compared with."""
    rows = data.attack(attack)
    for variant in (start[VARIANT], *data.variants):
        arms = set(rows.loc[rows[VARIANT] == variant, ARM]) - data.control_arms
        if len(arms) > 1:
            return start if variant == start[VARIANT] else _most_trained(data, rows, {VARIANT: variant})
    return start


def _most_trained(data: StudyData, rows: pd.DataFrame, cell: dict[str, Any]) -> dict[str, Any]:
    """Of a variant: without a defense, on the smallest training set, after the most training."""
    cell[ARM] = next(arm for arm in data.arms if len(in_cell(rows, cell | {ARM: arm})))
    cell["train_size"] = int(in_cell(rows, cell)["train_size"].min())
    cell[data.budget] = int(in_cell(rows, cell)[data.budget].max())
    return cell


def _changes(data: StudyData, attack: str, start: dict[str, Any], base: dict[str, Any]) -> tuple[Change, ...]:
    rows = data.attack(attack)
    others: list[tuple[dict[str, Any], str, Any]] = []
    for cell in (start, base) if base != start else (start,):
        fewest = _levels(rows, cell, data.budget)[0]
        others += [(cell, data.budget, fewest)] if fewest != cell[data.budget] else []
    largest = _levels(rows, start, "train_size")[-1]
    others += [(start, "train_size", largest)] if largest != start["train_size"] else []
    others += [(base, ARM, arm) for arm in data.arms if arm != base[ARM]]
    others += [(start, VARIANT, variant) for variant in data.variants if variant != start[VARIANT]]
    found = []
    for cell, factor, level in others:
        there = cell | {factor: level}
        by, leakage = difference(data, AUC, attack, there, cell), mean(data, AUC, attack, there)
        if by is None or leakage is None:
            continue
        quality = mean(data, data.quality, attack, there) if data.quality else None
        cost = difference(data, data.quality, attack, there, cell) if data.quality else None
        found.append(Change(cell, factor, level, leakage, by, quality, cost, np.nan))
    p = _corrected(data, attack, found)
    return tuple(replace(one, p_holm=float(value)) for one, value in zip(found, p, strict=True))


def _corrected(data: StudyData, attack: str, found: Sequence[Change]) -> np.ndarray:
    """p-values by Holm: one family for what is declared, the same as in every table, and one for the rest."""
    family = declared(data, attack).to_dict("records")

    def known(one: Change) -> float:
        ends = {one.level, one.cell[one.factor]}
        for row in family:
            alike = all(name == one.factor or row[name] == level for name, level in one.cell.items())
            if alike and row["factor"] == one.factor and {row["level"], row["baseline"]} == ends:
                return float(row["p_holm"])
        return np.nan

    p = np.array([known(one) for one in found], float)
    rest = np.array([np.isnan(value) and not np.isnan(one.by.p) for one, value in zip(found, p, strict=True)], bool)
    p[rest] = holm(np.array([one.by.p for one in found], float)[rest])
    return p


def _levels(rows: pd.DataFrame, cell: dict[str, Any], factor: str) -> list[int]:
    others = {name: value for name, value in cell.items() if name != factor}
    return [int(level) for level in sorted(set(in_cell(rows, others)[factor]))]


def _failed(table: pd.DataFrame) -> Sequence[Any]:
    return list(table[table["ok"].eq(False).fillna(False)].itertuples()) if "ok" in table else []


def doubts(data: StudyData, controls: pd.DataFrame, missing: int) -> list[str]:
    """What keeps any study's numbers from being believed at once."""
    found = []
    if data.replicates < MIN_REPLICATES:
        found.append(line("descriptive", replicates=replicates(data.replicates), least=MIN_REPLICATES))
    if missing:
        found.append(line("incomplete", count=missing))
    if data.public:
        found.append(line("public"))
    elif "ok" not in controls or not controls["ok"].notna().any():
        found.append(line("no control"))
    return found


def _how_much(data: StudyData, start: Number, cell: dict[str, Any]) -> Sentence:
    arm = "without a defense" if cell[ARM] == "none" else f"under {cell[ARM]}"
    where = f"{cell[VARIANT]} was trained with n = {cell['train_size']} for {cell[data.budget]} {data.budget} {arm}"
    who = attacker(data, start.attack)
    capital = who[0].upper() + who[1:]
    if data.public:
        return filled("leakage not tested", who=who, auc=start, where=where)
    tpr, found = mean(data, TPR, start.attack, cell), strongest(data, cell)
    more: list[Any] = list(filled("tpr", tpr=tpr)) if tpr else []
    assert found is not None
    if found["attack"] != start.attack:
        other = mean(data, AUC, found["attack"], cell)
        assert other is not None
        more += filled("stronger attack", count=str(found["attacks"]), attack=found["attack"], auc=other)
    if _shown_at(data, cell):
        return filled("leakage shown", who=capital, auc=start, where=where, more=tuple(more))
    return filled("leakage not shown", who=who, auc=start, where=where, more=tuple(more))


def _shown_at(data: StudyData, cell: dict[str, Any]) -> bool:
    """Whether leakage is shown at a cell, corrected over all cells after the last level of training.

    A cell whose training has not come that far is tested alone.
    """
    table = leakage_shown(data)
    own = table[np.logical_and.reduce([table[name] == level for name, level in cell.items()])]
    if len(own):
        return bool(own["shown"].any())
    alone = strongest(data, cell)
    return alone is not None and bool(over_looks(data, alone["p"]) < ALPHA)


def _all_cells(data: StudyData) -> list[Sentence]:
    """In how many cells leakage is shown; nothing for a single cell, which the first sentence is about."""
    table = leakage_shown(data)
    if len(table) < 2:
        return []
    last, count = f"{data.last[data.budget].max()} {data.budget}", str(len(table))
    leaking, others = table[table["shown"]], table[~table["shown"]]
    if leaking.empty:
        return [filled("no cell leaks", last=last, count=count)]
    top: dict[Any, Any] = leaking.sort_values(AUC).iloc[-1].to_dict()
    number = mean(data, AUC, top["attack"], {name: top[name] for name in data.cell})
    assert number is not None
    most = filled("most leaking", auc=number, cell=f"{words_of(data, top)}, {top['attack']}")
    if others.empty:
        return [filled("all cells leak", last=last, count=count, most=most)]
    names = [words_of(data, row) for row in others.to_dict("records")]
    named = "; ".join(names[:NAMED]) + (f"; and {len(names) - NAMED} more" if len(names) > NAMED else "")
    return [filled("some cells leak", last=last, shown=str(len(leaking)), count=count, names=named, most=most)]


def _not_tried(data: StudyData) -> Sentence:
    """Attackers by what they see, of whom no attack was run. What sees less can be done by whoever sees more."""
    tried = set(data.wide["access"].dropna()) if "access" in data.wide else set()
    lacking = [f"an attacker who {words}" for access, words in SEES.items() if access not in {*tried, "NONE"}]
    return filled("not tried", who="; ".join(lacking)) if lacking else filled("all access tried")


def attacker(data: StudyData, attack: str) -> str:
    """Who attacks, by what of the model they see."""
    access = next(iter(data.attack(attack).get("access", pd.Series(dtype=object)).dropna()), None)
    return f"an attacker who {SEES[access]} ({attack})" if access in SEES else f"the attack {attack}"


def _instead(data: StudyData, change: Change, cell: dict[str, Any]) -> str:
    """E.g. `400 instead of 100 records`; at equal steps these are seen fewer times. `norm group instead of batch`."""
    if change.factor == VARIANT and (apart := data.apart(change.level, cell[VARIANT])):
        return f"{apart} ({change.level})"
    records = "records" if data.budget == "epochs" else "records at equal steps"
    unit = {data.budget: f" {data.budget}", "train_size": f" {records}"}.get(change.factor, "")
    return f"{change.level} instead of {cell[change.factor]}{unit}"


def _what_changes(data: StudyData, changes: Sequence[Change], cell: dict[str, Any]) -> Sentence:
    shown = [change for change in changes if change.cell == cell and change.factor != ARM]
    if not shown:
        return filled("one level", budget=data.budget)
    clear, open_ended = [c for c in shown if c.clear], [c for c in shown if not c.clear]
    parts: list[Any] = []
    for change in clear[:NAMED]:
        verb = ("lowers" if change.by.value < 0 else "raises") + (" alone" if change.factor == VARIANT else "")
        parts += ["; "] if parts else []
        parts += filled(verb, words=_instead(data, change, cell), auc=change.leakage)
        cost = _paid(data, change, len(shown)) if change.quality else None
        if change.quality and cost and cost.low * cost.high > 0:
            better = "worse samples" if cost.value > 0 else "better samples"
            explained = any(DISTANCE in str(part) for part in parts)
            parts += filled(better, measure=_named_measure(data, explained), quality=change.quality)
    if open_ended:
        names = ", ".join(_instead(data, change, cell) for change in open_ended[:NAMED])
        numbers: list[Any] = []
        for change in open_ended[:NAMED]:
            numbers += [", "] if numbers else []
            numbers.append(change.leakage)
        parts += ["; "] if parts else []
        parts += filled("change not settled", names=names, numbers=tuple(numbers))
    first = str(parts[0])
    return (first[0].upper() + first[1:], *parts[1:], ".")


def _compared_on(data: StudyData, attack: str, base: dict[str, Any]) -> Sentence:
    """Where defenses were compared, if that is not where the verdict starts."""
    leakage = mean(data, AUC, attack, base)
    assert leakage is not None
    where = f"{base[VARIANT]}, {data.words('train_size', base['train_size'])}"
    return filled("compared on", where=where, auc=leakage)


def _what_protects(
    data: StudyData, attack: str, changes: Sequence[Change], cell: dict[str, Any], explained: bool
) -> Sentence:
    """The least leaking arm, or stopping early, of those shown to cost hardly any quality; else what may cost least.

    cell: that defenses are compared with. explained: whether the measure of quality was explained already.
    """
    arms = [change for change in changes if change.factor == ARM and change.level not in data.control_arms]
    if not arms:
        return filled("no defense")
    quality = mean(data, data.quality, attack, cell) if data.quality else None
    ways = [*arms, *(change for change in changes if change.cell == cell and change.factor == data.budget)]
    clear = [change for change in ways if change.clear and change.by.value < 0]
    if not any(change.factor == ARM for change in clear):
        count = "the one defense" if len(arms) == 1 else f"any of {len(arms)} defenses"
        least = min(arms, key=_auc)
        guarantee = _guarantee(data, cell, least)
        return filled("no defense lowers", count=count, arm=str(least.level), auc=least.leakage, guarantee=guarantee)
    # A loss of one that was chosen among several looks small by chance: its interval is corrected for that.
    clear = [replace(change, cost=_paid(data, change, len(ways))) for change in clear]
    free = [change for change in clear if change.cost and quality and is_small(change.cost, quality)]
    best = min(free, key=_auc) if free else min(clear, key=_most_lost)
    cost = _cost(data, best, quality, best in free, explained) if best.quality and quality and best.cost else ()
    others: list[Any] = list(_against_stopping(data, cell, best))
    rest = [change for change in clear if change is not best]
    for change in rest[:2]:
        fields: dict[str, Any] = {"arm": _way(data, change), "auc": change.leakage}
        fields["guarantee"] = _guarantee(data, cell, change)
        if change.quality:
            others += filled("other with quality", measure=_measure(data), quality=change.quality, **fields)
        else:
            others += filled("other", **fields)
    if len(rest) > 2:
        others += filled("more others", count=str(len(rest) - 2))
    name, arm = ("use", str(best.level)) if best.factor == ARM else ("stop early", f"{best.level} {data.budget}")
    guarantee = _guarantee(data, cell, best)
    return filled(name, arm=arm, auc=best.leakage, cost=cost, guarantee=guarantee, others=tuple(others))


def _most_lost(change: Change) -> tuple[float, float]:
    """The upper limit of a loss of quality, then leakage: the safest first, where no loss is shown to be small."""
    return (change.cost.high if change.cost else np.inf, _auc(change))


def _way(data: StudyData, change: Change) -> str:
    return str(change.level) if change.factor == ARM else f"stopping after {change.level} {data.budget}"


def _paid(data: StudyData, change: Change, choices: int) -> Number | None:
    """The loss of quality with an interval that holds after having been chosen among so many."""
    if data.quality is None:
        return None
    there = change.cell | {change.factor: change.level}
    return difference(data, data.quality, change.leakage.attack, there, change.cell, 1 - ALPHA / choices)


def _cost(data: StudyData, best: Change, quality: Number, small: bool, explained: bool) -> Sentence:
    assert best.quality and best.cost
    if best.cost.high < 0:
        name = "gain"
    elif small:
        name = "small loss"
    else:
        name = "loss" if best.cost.low > 0 else "loss not settled"
    fields: dict[str, Any] = {"share": f"{100 * TOLERATED:.0f}"} if name == "small loss" else {}
    measure = _named_measure(data, explained)
    return filled(name, measure=measure, quality=best.quality, reference=quality, loss=best.cost, **fields)


def _against_stopping(data: StudyData, cell: dict[str, Any], best: Change) -> Sentence:
    """How the recommended arm compares with early stopping at the same quality; nothing where that is not known."""
    if data.quality is None or best.factor != ARM:
        return ()
    attack, there = best.leakage.attack, cell | {ARM: best.level}
    table = equal_quality(data, attack)
    own = table[np.logical_and.reduce([table[name] == level for name, level in there.items()]) & table["p"].notna()]
    if own.empty:
        return ()
    row: dict[Any, Any] = own.iloc[0].to_dict()
    shown = bool(row["p_holm"] < ALPHA and row["effect"] < 0 and not row["descriptive"])
    text = effect_words(row, AUC)
    rows = data.attack(attack).dropna(subset=[AUC, data.quality])
    path = in_cell(rows, {name: there[name] for name in (VARIANT, "train_size")})
    used = path[path[ARM].isin([best.level, data.arms[0]])]
    code = call("equal_quality", DATA, attack)
    origin = source(data, attack, used, f"{best.level} against early stopping at equal {data.quality}", code, SCORES)
    name = "better than stopping" if shown else "no better than stopping"
    return filled(name, effect=Cited(text, origin))


def _guarantee(data: StudyData, cell: dict[str, Any], change: Change) -> Sentence:
    """What a choice promises whatever the attack: nothing unless it has an epsilon."""
    rows = in_cell(data.attack(change.leakage.attack), cell | {change.factor: change.level})
    if rows["epsilon"].isna().any():
        return filled("guarantees nothing")
    table = guarantees(data)
    own = in_cell(table, cell | {change.factor: change.level}).iloc[0]
    origin = source(data, change.leakage.attack, rows, f"guarantee of {change.level}", call("guarantees", DATA))
    numbers = {
        "epsilon": Cited(epsilon_words(own["epsilon"]), origin),
        "tpr": Cited(percent(own["largest_tpr"]), origin),
    }
    person: Sentence = ()
    name = "guarantee" if own["largest_tpr"] < EMPTY else "empty guarantee"
    if own["epsilon_unit"] == PERSON:
        name += " of a person"
    elif own["per_person"] == NO_PERSON:
        person = filled("not per person")
    elif own["per_person"]:
        person = filled("per person", epsilon=Cited(own["per_person"], origin))
    guessable = filled("guessable noise") if _noise_is_guessable(data) else ()
    return (*filled(name, **numbers), *person, *guessable)


def _noise_is_guessable(data: StudyData) -> bool:
    return data.declaration is not None and bool(is_guessable(data.table("trials")).any())


def _named_measure(data: StudyData, explained: bool) -> str:
    """The measure of quality before its value, with what it is where that was not said yet."""
    return f"{_measure(data)} " if explained else f"{_measure(data)}{DISTANCE}: "


def _measure(data: StudyData) -> str:
    return words_of_measure(str(data.quality))


def is_small(cost: Number, quality: Number) -> bool:
    """Whether a loss is shown to be a small share of the reference's value; an interval with 0 in it may hold much.

    Distances: more is worse. A share is of something, so the reference's value must be over two standard errors above
    0; a KID that may be 0 has no shares.
    """
    if pd.isna(quality.low) or quality.replicates < 2:
        return False
    error = (quality.high - quality.low) / 2 / float(t.ppf(0.975, quality.replicates - 1))
    return bool(quality.value > 2 * error and cost.high <= TOLERATED * quality.value)


def _auc(change: Change) -> float:
    return change.leakage.value
