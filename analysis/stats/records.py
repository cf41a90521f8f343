"""Which records leak: a record's score as a member against its score as a non-member, over replicates.

A panel's record is a member by a coin in each replicate, so that the difference is what its membership changes. Scores
are made comparable by their normal scores inside each trial: the normal quantile of a score's rank. Few replicates know
little about one record: differences are shrunk toward their mean, discoveries are corrected (Benjamini & Hochberg
1995), and `reliability` says how much of the spread would be found again.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import digamma, ndtri, polygamma
from scipy.stats import false_discovery_control, rankdata, t

from analysis.stats.baselines import UNAVAILABLE
from analysis.stats.cells import EXPLORATORY
from analysis.stats.effects import effect_of
from analysis.stats.inference import judged_scores
from analysis.study_data import ARM, VARIANT, StudyData
from mia_core.data import SOURCES, load_pool
from mia_core.errors import Refused
from mia_core.streams import Streams
from study.verdicts.controls import holm

FEWEST_REPLICATES = 3
"""Noise is what differs between trials on one side; two replicates have one trial a side."""
SPLITS, RESAMPLES = 50, 500
NAMES = ["query", "unit", "label"]
"""Columns that say which record or group a row is of, or its class: shown only where records are included."""
ESTIMATES = ("inside", "outside", "difference", "error", "shrunk", "shrunk_error", "p", "q")
Cell = Mapping[str, Any]


def records(data: StudyData, attack: str, cell: Cell | None = None) -> pd.DataFrame:
    """Every record that was a member in some replicates and not in others, the most at risk first.

    cell: levels of `data.cell`; by default without defense, at the smallest n after the last level. Columns query,
    unit, label (its class, null when the data are not at hand), inside, outside (replicates), difference (in standard
    deviations of scores) with its error, by moderated variances (Smyth 2004); shrunk with shrunk_error, its posterior
    under a normal prior fitted to all records; p, one-sided, that membership changes nothing; q, its false-discovery
    rate. Without rows, and with `attrs["reason"]`, for fewer than three replicates or a public copy.
    """
    scores, reason = _scores(data, attack, cell)
    table = _estimates(scores, "query") if reason is None else pd.DataFrame(columns=["query", *ESTIMATES])
    units = dict(zip(scores["query"], scores["unit"], strict=True)) if reason is None else {}
    labels, _ = classes(data)
    table.insert(1, "unit", table["query"].map(units))
    table.insert(2, "label", table["query"].map(labels).astype("Int64"))
    table = table.sort_values(["shrunk", "query"], ascending=[False, True], ignore_index=True)
    table.attrs["reason"] = reason
    return table


def by_group(data: StudyData, attack: str, cell: Cell | None = None) -> pd.DataFrame:
    """The same of units with several records (people, duplicates), which are members together.

    Columns unit, records, then as of `records`. Without rows where every record is its own unit.
    """
    scores, reason = _scores(data, attack, cell)
    sizes = scores.groupby("unit")["query"].nunique() if reason is None else pd.Series(dtype=int)
    sizes = sizes[sizes > 1]
    if reason is None and sizes.empty:
        reason = "every record is its own group"
    table = _estimates(scores[scores["unit"].isin(sizes.index)], "unit") if reason is None else pd.DataFrame()
    table = table.reindex(columns=["unit", *ESTIMATES])
    table.insert(1, "records", table["unit"].map(sizes))
    table = table.sort_values(["shrunk", "unit"], ascending=[False, True], ignore_index=True)
    table.attrs["reason"] = reason
    return table


def by_class(data: StudyData, attack: str, cell: Cell | None = None) -> pd.DataFrame:
    """Each class's members less its non-members inside each replicate, and whether that differs from the other classes.

    Columns label, records, difference, low, high (95 % t over replicates, in standard deviations of scores),
    against_others with its p and p_holm, replicates, descriptive, status. Without rows, and with `attrs["reason"]`,
    when the data are not at hand: a store has no classes.
    """
    labels, reason = classes(data)
    scores, unscored = _scores(data, attack, cell) if reason is None else (pd.DataFrame(), None)
    reason = reason or unscored
    rows = []
    if reason is None:
        scores["label"] = scores["query"].map(labels)
        for label in sorted(set(scores["label"])):
            own = scores[scores["label"] == label]
            inner, outer = _gap(own), _gap(scores[scores["label"] != label])
            both = pd.DataFrame({"own": inner, "others": outer}).dropna()
            if both.empty:
                continue
            found, other = effect_of(both["own"].to_numpy()), effect_of((both["own"] - both["others"]).to_numpy())
            named = {"label": int(label), "records": own["query"].nunique(), "difference": found["effect"]}
            said = {name: found[name] for name in ("low", "high", "replicates", "descriptive")}
            rows.append({**named, **said, "against_others": other["effect"], "p": other["p"], "status": EXPLORATORY})
    columns = [
        "label",
        "records",
        "difference",
        "low",
        "high",
        "against_others",
        "p",
        "replicates",
        "descriptive",
        "status",
    ]
    table = pd.DataFrame(rows, columns=columns)
    told = table["p"].notna()
    table.insert(7, "p_holm", np.nan)
    table.loc[told, "p_holm"] = holm(table.loc[told, "p"].to_numpy(float))
    table.attrs["reason"] = reason
    return table


def reliability(data: StudyData, attack: str, cell: Cell | None = None) -> pd.DataFrame:
    """How far the same records would be found at risk again: correlation of differences between halves of replicates.

    Each record's trials as member, and as non-member, are halved at random, many times. half: the mean correlation of
    both halves' differences; reliability: that of all replicates' differences by Spearman & Brown, 0 for nothing but
    noise and 1 for none; low, high: 95 %, over records drawn again. One row with records (those with two trials or more
    on each side), replicates, reason (why not, or null).
    """
    scores, reason = _scores(data, attack, cell)
    row: dict[str, Any] = {"records": 0, "replicates": 0 if reason else scores["replicate"].nunique()}
    if reason is None:
        everywhere = scores.groupby("query")["replicate"].transform("count") == row["replicates"]
        scores = scores[everywhere]
        score = scores.pivot(index="query", columns="replicate", values="score").to_numpy()
        member = scores.pivot(index="query", columns="replicate", values="member").to_numpy(bool)
        usable = np.minimum(member.sum(1), (~member).sum(1)) >= 2
        row["records"] = int(usable.sum())
        if usable.sum() < 10:
            reason = "fewer than 10 records were members twice and non-members twice"
        else:
            row |= _reliability(score[usable], member[usable])
    return pd.DataFrame([{**row, "reason": reason}]).reindex(
        columns=["records", "replicates", "half", "reliability", "low", "high", "reason"]
    )


def classes(data: StudyData) -> tuple[dict[int, int], str | None]:
    """Class of each record of the pool, or none and why; the data have to be at hand, and are never downloaded."""
    described = dict(data.resolved.get("data", {}))
    if "download" in described:
        described["download"] = False
    try:
        pool = load_pool(SOURCES.choose(described, "data"))
    except ValueError as error:
        return {}, str(error)
    wanted = set(data.wide["config"].str.extract(r'"data_digest":\s*"(\w+)"', expand=False))
    if wanted != {pool.digest}:
        return {}, f"the {pool.name} at hand is not the one of this study"
    return dict(enumerate(pool.labels.tolist())), None


def _scores(data: StudyData, attack: str, cell: Cell | None) -> tuple[pd.DataFrame, str | None]:
    """Columns replicate, query, unit, member, score (normal scores inside each trial) of one cell, or why not."""
    rows = data.attack(attack)
    at = {VARIANT: data.variants[0], ARM: data.arms[0], "train_size": rows["train_size"].min(), data.budget: None}
    at |= cell or {}
    if unknown := set(at) - set(data.cell):
        raise Refused(f"records: a cell has {', '.join(data.cell)}, not {', '.join(sorted(unknown))}")
    for name in (VARIANT, ARM, "train_size"):
        rows = rows[rows[name] == at[name]]
    last = at[data.budget]
    rows = rows[rows[data.budget] == (rows[data.budget].max() if last is None else last)]
    if rows.empty:
        raise Refused(f"records: no trial of {attack} at {at}")
    if data.public:
        return pd.DataFrame(), UNAVAILABLE
    if rows["replicate"].nunique() < FEWEST_REPLICATES:
        return (
            pd.DataFrame(),
            f"{rows['replicate'].nunique()} replicates; noise is told apart from {FEWEST_REPLICATES} on",
        )
    found, count = judged_scores(data, attack), len(rows)
    score, member = found.of(list(rows["trial_id"]))
    ranks = (rankdata(score, axis=1) - 0.5) / score.shape[1]
    columns = {
        "replicate": np.repeat(rows["replicate"].to_numpy(), score.shape[1]),
        "query": np.tile(found.query, count),
        "unit": np.tile(found.unit, count),
        "member": member.ravel(),
        "score": ndtri(ranks).ravel(),
    }
    return pd.DataFrame(columns), None


def _gap(scores: pd.DataFrame) -> pd.Series:
    """Mean of members less that of non-members, by replicate; null where one side is empty."""
    found = scores.groupby(["replicate", "member"])["score"].mean().unstack()
    return found.reindex(columns=[True, False]).pipe(lambda both: both[True] - both[False])


def _estimates(scores: pd.DataFrame, key: str) -> pd.DataFrame:
    """One row a value of `key` (its scores averaged in each trial) with trials on both sides."""
    means = scores.groupby([key, "replicate"]).agg(score=("score", "mean"), member=("member", "first")).reset_index()
    found = [
        means[means["member"] == side].groupby(key)["score"].agg(["mean", "count", "var"]) for side in (True, False)
    ]
    both = found[0].index.intersection(found[1].index)
    inside, outside = (side.loc[both] for side in found)
    freedom = inside["count"] + outside["count"] - 2
    squares = sum((side["var"].fillna(0) * (side["count"] - 1) for side in (inside, outside)), start=0.0 * freedom)
    variance, total = moderated((squares / freedom).to_numpy(), freedom.to_numpy())
    difference = (inside["mean"] - outside["mean"]).to_numpy()
    error = np.sqrt(variance * (1 / inside["count"] + 1 / outside["count"]).to_numpy())
    shrunk, shrunk_error = shrink(difference, error)
    p = t.sf(difference / error, total)
    q = false_discovery_control(p) if len(p) else p
    columns = (
        inside["count"].to_numpy(int),
        outside["count"].to_numpy(int),
        difference,
        error,
        shrunk,
        shrunk_error,
        p,
        q,
    )
    return pd.DataFrame({key: both, **dict(zip(ESTIMATES, columns, strict=True))})


def moderated(variance: np.ndarray, freedom: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variances [K] shrunk toward a scaled inverse chi-square prior fitted to them, and their degrees of freedom.

    Smyth (2004), section 6.2: without it, a few replicates make some variances small by chance, and their records look
    certain. Variances that differ no more than by chance are pooled as a whole.
    """
    told = variance > 0
    if told.sum() < 2:
        return np.full(len(variance), np.nan), freedom.astype(float)
    half = freedom[told] / 2
    logs = np.log(variance[told]) - digamma(half) + np.log(half)
    excess = logs.var(ddof=1) - polygamma(1, half).mean()
    if excess <= 0:
        pooled = float((variance * freedom).sum() / freedom.sum())
        return np.full(len(variance), pooled), np.full(len(variance), float(freedom.sum()))
    prior = 2 * _inverse_trigamma(excess)
    center = np.exp(logs.mean() + digamma(prior / 2) - np.log(prior / 2))
    total = freedom + prior
    return (freedom * variance + prior * center) / total, np.minimum(total, freedom.sum())


def _inverse_trigamma(value: float) -> float:
    low, high = 1e-8, 1e8
    for _ in range(200):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if polygamma(1, middle) > value else (low, middle)
    return (low * high) ** 0.5


def shrink(difference: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posterior mean and standard deviation of effects [K] under a normal prior of their own mean and spread.

    The spread is what is left of theirs beyond their errors (DerSimonian & Laird 1986); 0 puts all at the mean.
    """
    if not len(difference):
        return difference, error
    weight = 1 / error**2
    mean = (weight * difference).sum() / weight.sum()
    beyond = (weight * (difference - mean) ** 2).sum() - (len(difference) - 1)
    spread = max(0.0, beyond / (weight.sum() - (weight**2).sum() / weight.sum())) if len(difference) > 1 else 0.0
    weight = 1 / (error**2 + spread)
    mean = (weight * difference).sum() / weight.sum()
    kept = spread / (spread + error**2)
    return mean + kept * (difference - mean), np.sqrt(kept) * error


def _reliability(score: np.ndarray, member: np.ndarray) -> dict[str, float]:
    """Of scores [K,R] and who was a member, each with two trials or more a side."""
    random = Streams("records").numpy("halves", *score.shape)
    first, second = np.empty((2, SPLITS, len(score)))
    sides = [member, ~member]
    for number in range(SPLITS):
        order = random.random(score.shape)
        halves = np.zeros((2, len(score)))
        for sign, side in zip((1.0, -1.0), sides, strict=True):
            place = np.where(side, order, np.inf).argsort(1).argsort(1)
            size = side.sum(1, keepdims=True) // 2
            for which in (0, 1):
                chosen = (place >= which * size) & (place < (which + 1) * size)
                halves[which] += sign * (score * chosen).sum(1) / size[:, 0]
        first[number], second[number] = halves
    halved, whole = (sum(float((1 / (side.sum(1) // part)).mean()) for side in sides) for part in (2, 1))
    more = halved / whole

    def of(which: np.ndarray) -> tuple[float, float]:
        one, other = first[:, which], second[:, which]
        one, other = one - one.mean(1, keepdims=True), other - other.mean(1, keepdims=True)
        half = float(((one * other).sum(1) / np.sqrt((one**2).sum(1) * (other**2).sum(1))).mean())
        return half, more * half / (1 + (more - 1) * half)

    draws = [of(random.integers(0, len(score), len(score)))[1] for _ in range(RESAMPLES)]
    half, found = of(np.arange(len(score)))
    return {
        "half": half,
        "reliability": found,
        "low": float(np.quantile(draws, 0.025)),
        "high": float(np.quantile(draws, 0.975)),
    }
