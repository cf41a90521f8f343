"""Every number's words, in one place: tables, report, notebooks and pictures write a number as it is written here.

Shares and chances (AUC, TPR, accuracy) have three decimals, distances (KID, FID) three digits, differences a sign.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.study_data import ARM, VARIANT, lower_is_better

NONE = "-"
"""Where there is no number."""
MINUS = "\N{MINUS SIGN}"
"""Before a negative number, as in pictures."""
EFFECT, P, P_HOLM = "difference [95 %]", "p (not corrected)", "p (Holm)"
"""Heads of the columns of effects."""
WORDS = {VARIANT: "target", ARM: "arm", "train_size": "n"}
"""Heads of columns that name a cell."""
AUC_WORDS, TPR_WORDS = "AUC", "TPR at 1 % FPR"


def form_of(value: str, signed: bool = False) -> str:
    """How a value, named by its column, is written."""
    return ("+" if signed else "") + (".3g" if lower_is_better(value) else ".3f")


def number(value: Any, form: str = ".3g") -> str:
    """One number; a dash where there is none."""
    return NONE if value is None or pd.isna(value) else _digits(value, form)


def _digits(value: Any, form: str) -> str:
    """With a true minus; what rounds to zero has none."""
    text = format(value, form)
    digits = text.lstrip("+-")
    if text[:1] != "-":
        return text
    return f"{MINUS}{digits}" if digits.strip("0.%") else format(0.0, form)


def interval(mean: Any, low: Any, high: Any, form: str = ".3f") -> str:
    """`0.612 [0.580, 0.641]`; without brackets where the ends are not known."""
    if mean is None or pd.isna(mean):
        return NONE
    ends = "" if pd.isna(low) or pd.isna(high) else f" [{_digits(low, form)}, {_digits(high, form)}]"
    return f"{_digits(mean, form)}{ends}"


def estimate(row: Mapping[Any, Any], value: str, name: str = "mean") -> str:
    """A mean with its interval, of a row with columns mean, low, high, or NAME, NAME_low, NAME_high."""
    ends = ("low", "high") if name == "mean" else (f"{name}_low", f"{name}_high")
    return interval(row[name], row[ends[0]], row[ends[1]], form_of(value))


def effect(row: Mapping[Any, Any], value: str, name: str = "effect") -> str:
    """A difference with its interval, in the value's own units."""
    return interval(row[name], row["low"], row["high"], form_of(value, signed=True))


def p_value(p: Any) -> str:
    """Two digits."""
    return number(p, ".2g")


def texts_of_effect(row: Mapping[Any, Any], value: str, p: str = "p") -> dict[str, str]:
    """An effect's columns in words: the difference, its p and its replicates. p: the column, `p` or `p_holm`."""
    return {
        EFFECT: effect(row, value),
        P_HOLM if p == "p_holm" else P: p_value(row[p]),
        "replicates": str(row["replicates"]),
    }


def epsilon(value: Any) -> str:
    """An arm without one guarantees nothing."""
    return "none" if pd.isna(value) else f"{value:.3g}"


def share(value: Any, low: Any = None, high: Any = None) -> str:
    """A share of variance, or a reliability."""
    return interval(value, low, high, ".2f") if low is not None else number(value, ".2f")


def percent(value: Any) -> str:
    """A share of records: `3.4 %`, `26 %`."""
    return f"{100 * value:.0f} %" if value >= 0.095 else f"{100 * value:.2g} %"


def replicates(count: Any) -> str:
    """`5 replicates`."""
    return f"{count} replicate{'' if count == 1 else 's'}"


def more_replicates(row: Mapping[Any, Any]) -> str:
    """What would settle an effect, with the range that its standard deviation leaves, known badly by few replicates."""
    if row["settled"]:
        return "settled"
    if pd.isna(row["needed"]):
        return "no number of replicates"
    high = "many" if pd.isna(row["more_high"]) else row["more_high"]
    return f"{row['more']} more ({row['more_low']} to {high})"


def point_text(row: Mapping[Any, Any], value: str, end: str = "") -> str:
    """A mean of `means`, its interval and its replicates, as a point of a picture says it. end: of its columns."""
    found = interval(row[f"mean{end}"], row[f"low{end}"], row[f"high{end}"], form_of(value))
    return f"{found}, {replicates(row[f'replicates{end}'])}"


def named(table: pd.DataFrame) -> pd.DataFrame:
    """A table of texts with `WORDS` for heads."""
    return table.rename(columns=WORDS)


def of_100(row: Mapping[Any, Any], name: str) -> str:
    """How many of 100, of a share of a row with columns NAME, NAME_low, NAME_high: `12 [5, 27]`."""
    share, low, high = (100 * row[f"{name}{end}"] for end in ("", "_low", "_high"))
    return interval(share, low, high, ".0f")
