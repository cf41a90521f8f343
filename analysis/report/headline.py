"""The verdict: three sentences, chosen by rules from a study's numbers, and whether to believe them.

They are about the declared attack, and start at one cell that is fixed before anything is looked at: the first
variant and arm, the smallest training set, the most training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.report.provenance import Number, difference, in_cell, mean
from analysis.report.shown import WIDE_OF_DATA, Shown, columns_of
from analysis.report.sources import Cited, condition, source
from analysis.stats.declared import declared
from analysis.stats.effects import AUC, MIN_REPLICATES
from analysis.study_data import ARM, VARIANT, StudyData, words_of_measure
from study.verdicts.controls import ALPHA, holm

SOUND, CAREFUL, FAILED = "sound", "careful", "failed"
TOLERATED = 0.25
"""The share of a distance's own value that a defense may add and be said to cost hardly any quality."""
WEAK = 10
"""A larger epsilon is little of a guarantee (Ponomareva et al. 2023, "How to DP-fy ML")."""
DISTANCE = ", a distance from real records"
"""Said of a measure of quality where it is named first: all that stand for quality are distances."""
SEES = {
    "NONE": "sees nothing of the model",
    "SAMPLES": "sees generated samples only",
    "LATENT": "chooses the inputs of the generator",
    "GENERATOR": "has the generator",
    "WHITE_BOX": "has the whole trained model",
}
"""What an attacker sees, by the least access that an attack needs."""
Sentence = tuple[str | Number | Cited, ...]
"""Words and numbers, in order; a number shows with its interval."""


@dataclass(frozen=True)
class Change:
    """What one other level gives: its leakage, its difference of the start's, and the same of quality (null without).

    p_holm: as of the declared contrast that this is, or corrected over the verdict's other changes, which none is.
    """

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
    """standing: SOUND, CAREFUL or FAILED, and why. start: leakage where it is expected to be most; quality: there."""

    standing: str
    reasons: tuple[str, ...]
    sentences: tuple[Sentence, ...]
    attack: str
    cell: dict[str, Any]
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
    changes = _changes(data, attack, cell)
    what_changes = _what_changes(data, changes, cell)
    explained = any(isinstance(part, str) and DISTANCE in part for part in what_changes)
    protection = _what_protects(data, changes, cell, quality, explained)
    sentences = (_how_much(data, start, cell), what_changes, protection)
    standing, reasons, said = judged(sentences, failures(controls, audits), doubts(data, controls, missing))
    return Verdict(standing, reasons, said, attack, cell, start, quality, changes)


def judged(
    sentences: tuple[Sentence, ...], failures: list[str], doubts: list[str]
) -> tuple[str, tuple[str, ...], tuple[Sentence, ...]]:
    """The standing, its reasons, and the three sentences: what failed goes before what it takes back."""
    if failures:
        first: Sentence = (f"Do not use these numbers before this is understood: {failures[0]}.",)
        sentences = (first, *sentences[:2])
    standing = FAILED if failures else CAREFUL if doubts else SOUND
    return standing, (*failures, *doubts), sentences


def failures(controls: pd.DataFrame, audits: pd.DataFrame) -> list[str]:
    """What failed, in words."""
    found = [f"control {row.control} {row.attack}: {row.verdict}" for row in _failed(controls)]
    return found + [f"audit of {row.arm}, n = {row.train_size}: {row.verdict}" for row in _failed(audits)]


def _start(data: StudyData, attack: str) -> dict[str, Any]:
    rows = data.attack(attack)
    cell: dict[str, Any] = {VARIANT: next(name for name in data.variants if name in set(rows[VARIANT]))}
    cell[ARM] = next(arm for arm in data.arms if len(in_cell(rows, cell | {ARM: arm})))
    cell["train_size"] = int(in_cell(rows, cell)["train_size"].min())
    cell[data.budget] = int(in_cell(rows, cell)[data.budget].max())
    return cell


def _changes(data: StudyData, attack: str, cell: dict[str, Any]) -> tuple[Change, ...]:
    rows = data.attack(attack)
    others: list[tuple[str, Any]] = []
    largest = _levels(rows, cell, "train_size")[-1]
    fewest = _levels(rows, cell, data.budget)[0]
    others += [(data.budget, fewest)] if fewest != cell[data.budget] else []
    others += [("train_size", largest)] if largest != cell["train_size"] else []
    others += [(ARM, arm) for arm in data.arms if arm != cell[ARM]]
    others += [(VARIANT, variant) for variant in data.variants if variant != cell[VARIANT]]
    found = []
    for factor, level in others:
        there = cell | {factor: level}
        by, leakage = difference(data, AUC, attack, there, cell), mean(data, AUC, attack, there)
        if by is None or leakage is None:
            continue
        quality = mean(data, data.quality, attack, there) if data.quality else None
        cost = difference(data, data.quality, attack, there, cell) if data.quality else None
        found.append(Change(factor, level, leakage, by, quality, cost, np.nan))
    p = _corrected(data, attack, cell, found)
    return tuple(
        Change(one.factor, one.level, one.leakage, one.by, one.quality, one.cost, float(value))
        for one, value in zip(found, p, strict=True)
    )


def _corrected(data: StudyData, attack: str, cell: dict[str, Any], found: Sequence[Change]) -> np.ndarray:
    """p-values by Holm: one family for what is declared, the same as in every table, and one for the rest."""
    family = declared(data, attack)
    known = {
        (row["factor"], frozenset((row["level"], row["baseline"]))): row["p_holm"]
        for row in family.to_dict("records")
        if all(row["factor"] == name or row[name] == level for name, level in cell.items())
    }
    p = np.array([known.get((one.factor, frozenset((one.level, cell[one.factor]))), np.nan) for one in found], float)
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
        found.append(
            f"Descriptive only: {data.replicates} replicate{'s' if data.replicates != 1 else ''}, and an interval over "
            f"replicates means something from {MIN_REPLICATES} on."
        )
    if missing:
        found.append(f"Incomplete: {missing} trials of the design are missing; the study's sweep command runs them.")
    if data.public:
        found.append("A public copy has no scores: controls, audits, ROC and records cannot be computed from it.")
    elif "ok" not in controls or not controls["ok"].notna().any():
        found.append("No control was run: nothing shows that the attacks and the split are sound.")
    return found


def _how_much(data: StudyData, start: Number, cell: dict[str, Any]) -> Sentence:
    arm = "without a defense" if cell[ARM] == "none" else f"under {cell[ARM]}"
    where = f"{cell[VARIANT]} was trained on {cell['train_size']} records for {cell[data.budget]} {data.budget} {arm}"
    shown = (
        f"{attacker(data, start.attack)}, shown one training record and one other, tells which is the training record "
        "with probability "
    )
    if not pd.isna(start.low) and start.low <= 0.5 <= start.high:
        return (f"No leakage is shown where {where}: {shown}", start, ", and guessing gives 0.50.")
    return (shown[0].upper() + shown[1:], start, f" (guessing: 0.50), where {where}.")


def attacker(data: StudyData, attack: str) -> str:
    """Who attacks, by what of the model they see."""
    access = next(iter(data.attack(attack).get("access", pd.Series(dtype=object)).dropna()), None)
    return f"an attacker who {SEES[access]} ({attack})" if access in SEES else f"the attack {attack}"


def _instead(data: StudyData, change: Change, cell: dict[str, Any]) -> str:
    """E.g. `400 instead of 100 records`; at equal steps these are seen fewer times."""
    records = "records" if data.budget == "epochs" else "records at equal steps"
    unit = {data.budget: f" {data.budget}", "train_size": f" {records}"}.get(change.factor, "")
    return f"{change.level} instead of {cell[change.factor]}{unit}"


def _what_changes(data: StudyData, changes: Sequence[Change], cell: dict[str, Any]) -> Sentence:
    shown = [change for change in changes if change.factor != ARM]
    if not shown:
        return (f"Training-set size and {data.budget} have one level each here, so what they change is not known.",)
    clear, open_ended = [c for c in shown if c.clear], [c for c in shown if not c.clear]
    parts: list[str | Number | Cited] = []
    for change in clear[:3]:
        words = _instead(data, change, cell)
        verb = "lower" if change.by.value < 0 else "raise"
        parts += [("; " if parts else "") + f"{words} {verb} it to ", change.leakage]
        if change.quality and change.cost and change.cost.low * change.cost.high > 0:
            better = "worse" if change.cost.value > 0 else "better"
            words = (
                f"{_measure(data)} "
                if any(DISTANCE in str(part) for part in parts)
                else f"{_measure(data)}{DISTANCE}: "
            )
            parts += [f", with {better} samples ({words}", change.quality, ")"]
    if open_ended:
        names = ", ".join(_instead(data, change, cell) for change in open_ended[:3])
        parts += [("; " if parts else "") + f"what {names} change is not settled by these replicates (now at "]
        for number, change in enumerate(open_ended[:3]):
            parts += [", " if number else "", change.leakage]
        parts.append(")")
    first = str(parts[0])
    return (first[0].upper() + first[1:], *parts[1:], ".")


def _what_protects(
    data: StudyData, changes: Sequence[Change], cell: dict[str, Any], quality: Number | None, explained: bool
) -> Sentence:
    """explained: whether it was said already what the measure of quality is."""
    arms = [change for change in changes if change.factor == ARM]
    if not arms:
        return ("No defense was compared.",)
    clear = [change for change in arms if change.clear and change.by.value < 0]
    if not clear:
        count = "the one defense" if len(arms) == 1 else f"any of {len(arms)} defenses"
        least = min(arms, key=_auc)
        return (f"That {count} lowers leakage is not shown here; the least measured is {least.level} with ",
                least.leakage, ".")  # fmt: skip
    free = [change for change in clear if change.cost and quality and _is_small(change.cost, quality)]
    best = min(free or clear, key=_auc)
    parts: list[str | Number | Cited] = [f"To protect records, use {best.level}: it lowers that to ", best.leakage]
    if best.quality and quality:
        how = "and costs quality" if best.cost and best.cost.low > 0 else "and what it costs in quality is not settled"
        how = f"at a loss of quality shown to be under {100 * TOLERATED:.0f} %" if best in free else how
        words = f"{_measure(data)} " if explained else f"{_measure(data)}{DISTANCE}: "
        parts += [f", {how} ({words}", best.quality, " against ", quality, " without)"]
    parts += _guarantee(data, cell, best)
    others = [change for change in clear if change is not best]
    for change in others[:2]:
        parts += [f"; {change.level} lowers it to ", change.leakage]
        parts += [f" at {_measure(data)} ", change.quality] if change.quality else []
        parts += _guarantee(data, cell, change)
    if len(others) > 2:
        parts.append(f"; {len(others) - 2} more lower it")
    return (*parts, ".")


def _guarantee(data: StudyData, cell: dict[str, Any], change: Change) -> Sentence:
    """What an arm promises whatever the attack, where any arm does."""
    if not data.private:
        return ()
    rows = in_cell(data.attack(change.leakage.attack), cell | {ARM: change.level})
    if rows["epsilon"].isna().any():
        return (", and guarantees nothing against other attacks",)
    selected = condition(data, change.leakage.attack, rows).python(WIDE_OF_DATA)
    code = Shown(f"{columns_of(selected, ['epsilon'])}.max().item()")
    origin = source(data, change.leakage.attack, rows, f"epsilon of {change.level}", code)
    epsilon = rows["epsilon"].max()
    weak = ", but a weak one" if epsilon > WEAK else ""
    return (f", with a guarantee against any attack{weak}: epsilon ", Cited(f"{epsilon:.3g}", origin))


def _measure(data: StudyData) -> str:
    return words_of_measure(str(data.quality))


def _is_small(cost: Number, quality: Number) -> bool:
    """Whether a loss is shown to be small: an interval that holds 0 may hold much more. Distances: more is worse."""
    return bool(cost.high <= TOLERATED * quality.value)


def _auc(change: Change) -> float:
    return change.leakage.value
