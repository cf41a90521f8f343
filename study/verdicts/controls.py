"""What a study's controls say, computed from its store alone, each shown, inconclusive or failed.

Failed: the control's p-value, of one family over the study (Holm 1979), is below 5 %; so a sound study raises a false
alarm in at most 5 % of cases. Only an AUC above 1/2 is an alarm of what must be at 1/2: one below it leaks nothing.
Shown: the upper limit of the AUC (one-sided, 95 %) is within MARGIN of 1/2; of a copycat, the lower limit is above 1/2.
Inconclusive: neither; the verdict states how far the AUC could be from 1/2.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm, rankdata

from mia_core.streams import Streams
from study.store import Done, Store, read
from study.store.reading import tables_by_trial
from study.store.roles import BLIND, BLIND_FILES, COPYCAT, HELD_OUT, MEMBER_ONLY, NULL, RELEASE
from study.terminal import say

CONTROLS = (BLIND, BLIND_FILES, NULL, MEMBER_ONLY, HELD_OUT, COPYCAT)
Scores = dict[tuple[str, str], pd.DataFrame]
"""Rows of the table of scores, by trial and attack."""

COLUMNS = (
    *("control", "attack", "train_size", "trials", "replicates", "auc", "error", "expected", "p", "p_holm"),
    *("smallest_auc", "standing", "ok"),
)
SHOWN, INCONCLUSIVE, FAILED = "shown", "inconclusive", "failed"
ALPHA = 0.05
MARGIN = 0.02
"""What must be at 1/2 is shown to be where its upper limit is no further above it."""
PERMUTATIONS = 9999
CHUNK = 2_000_000
NAMED = 5
"""So many attacks of one verdict are named at the end of a sweep; more are counted."""


def verdicts(root: str | Path, study: str) -> pd.DataFrame:
    """One row a control x attack (copycat: x train_size), with columns COLUMNS and `verdict`.

    auc: the mean over `trials`. error: its standard error when membership is independent of the scores (copycat: over
    draws). p: of the expected AUC, one-sided but for the copycat; p_holm: over the study. standing: SHOWN, INCONCLUSIVE
    or FAILED. ok: whether it has not failed; both null where there is no control. smallest_auc: of blind controls, the
    least AUC that one of them finds with a probability of 80 %, alone and at 5 %.
    """
    store = Store(root, study)
    design = read(root, study, "design")
    attacks, scores = read_attacks(store, design[design["role"].isin(CONTROLS)])
    rows = [
        *(row for role in (BLIND, BLIND_FILES) for row in _blind_rows(role, attacks[attacks["role"] == role], scores)),
        *_null_rows(NULL, attacks[attacks["role"] == NULL], scores),
        *_null_rows(MEMBER_ONLY, attacks[attacks["role"] == MEMBER_ONLY], scores),
        *_null_rows(HELD_OUT, attacks[attacks["role"] == HELD_OUT], scores),
        *_copycat_rows(attacks[attacks["role"] == COPYCAT]),
    ]
    table = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "p_holm"])
    table.insert(COLUMNS.index("p_holm"), "p_holm", holm(table["p"].to_numpy(float)))
    table["standing"] = [_standing(row) for row in table.to_dict("records")]
    release = bool((design["role"] == RELEASE).any())
    table["verdict"] = [_verdict(row, release) for row in table.to_dict("records")]
    table["ok"] = table["standing"] != FAILED
    absent = _absent(design, set(table["control"]), store.done())
    return pd.concat([table, absent], ignore_index=True).astype(
        {"train_size": "Int64", "trials": "Int64", "replicates": "Int64", "ok": "boolean"}
    )


def lines(table: pd.DataFrame) -> list[str]:
    """Verdicts for the end of a sweep: every failure, else one line a control."""
    failed = table["ok"].eq(False).fillna(False)
    texts = [f"{row.control} {row.attack}: {row.verdict} (AUC {row.auc:.3f})" for row in table[failed].itertuples()]
    rest = table[~failed].assign(word=table["standing"].fillna(table["verdict"]))
    for (control, _), rows in rest.groupby(["control", "word"], sort=False):
        names = list(dict.fromkeys(rows["attack"].dropna())) if control in (NULL, MEMBER_ONLY, HELD_OUT) else []
        attacks = ", ".join(names) if len(names) <= NAMED else f"{len(names)} attacks"
        texts.append(f"{control}: {rows['verdict'].max()}{attacks and f' ({attacks})'}")
    return texts


def nothing(store: Store) -> str:
    """Why a study has no verdict."""
    return f"nothing to judge: {store.study} has no control"


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values."""
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    result = np.empty(len(p))
    result[order] = np.minimum(1, adjusted)
    return result


def read_attacks(store: Store, design: pd.DataFrame) -> tuple[pd.DataFrame, Scores]:
    """Sealed attack rows of those design rows with their trial's columns, and their scores by trial and attack."""
    wanted = design[design["kind"] == "attack"]
    parts: list[pd.DataFrame] = []
    scores: Scores = {}
    by_trial = dict(iter(wanted.groupby("trial_id", sort=False)))
    for trial, _, tables in tables_by_trial(store, map(str, by_trial), ("trials", "attacks", "scores")):
        rows = by_trial[trial]
        if any(frame.empty for frame in tables.values()):
            continue
        labels = dict(zip(rows["id"], rows["label"], strict=True))
        found = tables["attacks"][tables["attacks"]["attack_id"].isin(labels) & tables["attacks"]["auc"].notna()]
        own = found.drop(columns="flags").rename(columns={"steps": "attack_steps", "seconds": "seconds_attack"})
        parts.append(own.assign(attack=own["attack_id"].map(labels)).merge(tables["trials"], on="trial_id"))
        of_trial = tables["scores"][tables["scores"]["attack_id"].isin(labels)]
        scores |= {(trial, str(name)): part for name, part in of_trial.groupby("attack_id")}
    columns = ["role", "trial_id", "attack_id", "attack", "auc"]
    return pd.concat(parts) if parts else pd.DataFrame(columns=columns), scores


def _blind_rows(control: str, rows: pd.DataFrame, scores: Scores) -> Iterator[dict[str, Any]]:
    if len(rows):
        keys = zip(rows["trial_id"], rows["attack_id"], strict=True)
        labels = pd.DataFrame({key[0]: scores[key].set_index("query")["member"].astype(float) for key in keys})
        yield {
            **_common(control, control, rows),
            "auc": rows["auc"].mean(),
            "error": _error_of_labels(labels),
            "expected": 0.5,
            "p": combine(rows["p_value"].to_numpy(), labels),
            "smallest_auc": rows["smallest_auc"].max(),
        }


def combine(p: np.ndarray, labels: pd.DataFrame) -> float:
    """One p of several by Stouffer's sum of normal scores, one-sided, for labels [Q,R] that need not be independent.

    Replicates share their extra non-members, so that their AUCs err in common; AUCs that are linear in ranks correlate
    as the labels do, others less (Strube 1985). Taken as independent, five replicates of a panel of 140 with 300 extra
    non-members raise three times as many false alarms as stated.
    """
    normal = norm.isf(np.minimum(p, 0.999))
    return float(norm.sf(normal.sum() / _correlation(labels).sum() ** 0.5))


def _correlation(labels: pd.DataFrame) -> np.ndarray:
    """[R,R], at least 0 and 1 where too few queries are in common, of labels [Q,R]."""
    return labels.corr(min_periods=30).fillna(1).clip(lower=0).to_numpy()


def _error_of_labels(labels: pd.DataFrame) -> float:
    """Standard error of the mean over replicates of AUCs of scores that do not depend on labels [Q,R].

    Of one replicate ((n + m + 1) / (12 n m))^.5, as of a rank sum without ties.
    """
    inside, every = labels.sum().to_numpy(), labels.notna().sum().to_numpy()
    alone = ((every + 1) / (12 * inside * (every - inside))) ** 0.5
    return float((alone @ _correlation(labels) @ alone) ** 0.5 / len(alone))


def _null_rows(control: str, rows: pd.DataFrame, scores: Scores) -> Iterator[dict[str, Any]]:
    """Of what must be at 1/2: null targets, or two halves of members.

    The same permutations of units for all of them: labels of replicates and sizes hang together, and scores too. Null
    targets of a replicate are judged on the judged records they have in common.
    """
    if rows.empty:
        return
    parts = [scores[key] for key in zip(rows["trial_id"], rows["attack_id"], strict=True)]
    parts = [part[part["judged"]] for part in parts]
    for replicate in set(rows["replicate"]) if control == NULL else ():
        own = np.flatnonzero(rows["replicate"] == replicate)
        common = reduce(np.intersect1d, [parts[number]["query"].to_numpy() for number in own])
        for number in own:
            parts[number] = parts[number][parts[number]["query"].isin(common)]
    aucs = permuted_aucs(parts, Streams("controls"))
    for attack in dict.fromkeys(rows["attack"]):
        of = (rows["attack"] == attack).to_numpy()
        observed, *draws = aucs[of].mean(0)
        as_high = np.array(draws) >= observed - 1e-9
        yield {
            **_common(control, attack, rows[of]),
            "auc": observed,
            "error": np.std(draws),
            "expected": 0.5,
            "p": (1 + as_high.sum()) / (1 + len(draws)),
        }


def permuted_aucs(parts: Sequence[pd.DataFrame], streams: Streams) -> np.ndarray:
    """AUCs [len(parts), 1 + PERMUTATIONS] of scores, as they are and with the membership of units permuted."""
    units = 1 + max(int(part["unit"].max()) for part in parts)
    chunk = max(1, CHUNK // units)
    result = np.empty((len(parts), 1 + PERMUTATIONS))
    groups: dict[tuple[bytes, bytes], list[int]] = {}
    for number, part in enumerate(parts):
        groups.setdefault((part["unit"].to_numpy().tobytes(), part["member"].to_numpy().tobytes()), []).append(number)
    for numbers in groups.values():
        first = parts[numbers[0]]
        own, position, unit = np.unique(first["unit"], return_index=True, return_inverse=True)
        member = first["member"].to_numpy()[position]
        ranks = np.stack([rankdata(parts[number]["score"]) for number in numbers], axis=1)
        for start in range(0, PERMUTATIONS, chunk):
            count = min(chunk, PERMUTATIONS - start)
            order = streams.numpy("keys", start).random((count, units))[:, own].argsort(1)
            result[numbers, 1 + start : 1 + start + count] = _aucs(member[order][:, unit], ranks).T
        result[numbers, 0] = _aucs(member[None, unit], ranks)
    return result


def _aucs(labels: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """[P,A] from labels bool [P,Q] and midranks of scores [Q,A]."""
    inside = labels.sum(1, keepdims=True)
    wins = labels.astype(np.float64) @ ranks - inside * (inside + 1) / 2
    return wins / (inside * (len(ranks) - inside))


def _copycat_rows(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for row in rows.to_dict("records"):
        queries = row["queries"] if pd.isna(row["judged"]) else row["judged"]
        members = round(queries * row["baseline_top_n"])
        random = Streams("controls").numpy(COPYCAT, row["train_size"])
        draws = replayed_aucs(row["members"], row["released"], members, random)
        tails = (draws <= row["auc"] + 1e-9).sum(), (draws >= row["auc"] - 1e-9).sum()
        yield {
            **_common(COPYCAT, row["attack"], pd.DataFrame([row])),
            "train_size": row["train_size"],
            "auc": row["auc"],
            "error": draws.std(),
            "expected": replayed_auc(row["members"], row["released"]),
            "p": min(1.0, 2 * (1 + min(tails)) / (1 + len(draws))),
        }


def replayed_auc(records: int, generated: int) -> float:
    """AUC of a distance attack on a generator that replays its records: 1/2 + 1/2 (1 - (1 - 1/n)^N).

    A member among the N samples is at distance 0, as no non-member can be, and any other member is as far from them as
    a non-member. About 1/2 + 1/2 (1 - e^(-N/n)).
    """
    return 1 - (1 - 1 / records) ** generated / 2


def replayed_aucs(records: int, generated: int, members: int, random: np.random.Generator) -> np.ndarray:
    """Draws of that AUC over which of the queried members are replayed, and where the others fall."""
    absent = random.binomial(members, (1 - 1 / records) ** generated, PERMUTATIONS)
    fallen = np.where(np.arange(absent.max()) < absent[:, None], random.random((PERMUTATIONS, absent.max())), 0)
    return 1 - fallen.sum(1) / members


def _common(control: str, attack: str, rows: pd.DataFrame) -> dict[str, Any]:
    return {"control": control, "attack": attack, "trials": len(rows), "replicates": rows["replicate"].nunique()}


def _limit(row: Mapping[Any, Any]) -> float:
    """The one-sided 95 % limit of an AUC on the side that matters: above, of a copycat below."""
    reach = norm.ppf(0.95) * row["error"]
    return row["auc"] - reach if row["control"] == COPYCAT else row["auc"] + reach


def _standing(row: Mapping[Any, Any]) -> str:
    if row["p_holm"] < ALPHA:
        return FAILED
    shown = _limit(row) > 0.5 if row["control"] == COPYCAT else _limit(row) <= 0.5 + MARGIN
    return SHOWN if shown else INCONCLUSIVE


def _verdict(row: Mapping[Any, Any], release: bool) -> str:
    """release: of one trained model, which has neither replicates nor nulls; more records are what it may have."""
    standing, above = row["standing"], _limit(row) - 0.5
    more = {BLIND: "members and non-members", MEMBER_ONLY: "members"} if release else {BLIND: "replicates"}
    return {
        BLIND: {
            SHOWN: "members are not told from non-members without a target",
            INCONCLUSIVE: f"nothing found, at most {above:.2f} above 0.5; more {more[BLIND]} would show more",
            FAILED: "members differ from non-members without any target: every attack's AUC is inflated, "
            "by how much is not known",
        },
        BLIND_FILES: {
            SHOWN: "files of members are not told from files of non-members",
            INCONCLUSIVE: f"nothing found in the files, at most {above:.2f} above 0.5",
            FAILED: "files of members differ from files of non-members: they were not made or exported alike, so what "
            "attacks find may be that",
        },
        HELD_OUT: {
            SHOWN: "non-members in place of samples are as near to members as to other non-members",
            INCONCLUSIVE: f"at most {above:.2f} above 0.5; more non-members would show more",
            FAILED: "members are nearer to non-members than other non-members are: the two are not alike, so what "
            "attacks find may be that",
        },
        COPYCAT: {
            SHOWN: "works",
            INCONCLUSIVE: "too few queries to tell whether the sample-based attacks work",
            FAILED: "FAILS: the sample-based attacks are broken here",
        },
        NULL: {
            SHOWN: "not above 0.5",
            INCONCLUSIVE: f"at most {above:.2f} above 0.5; more nulls would show more",
            FAILED: "LEAKS: fix before believing any attack",
        },
        MEMBER_ONLY: {
            SHOWN: "halves of the members are not told apart",
            INCONCLUSIVE: f"at most {above:.2f} above 0.5; more {more.get(MEMBER_ONLY, 'nulls')} would show more",
            FAILED: "LEAKS: the attack tells halves of the members apart, which differ in nothing but their labels",
        },
    }[row["control"]][standing]


def _absent(design: pd.DataFrame, present: set[str], done: Mapping[str, Done]) -> pd.DataFrame:
    """Rows for what the design leaves out, for what it has and nobody ran yet, and for what diverged."""
    left_out = design[design["kind"] == "control"]
    rows = [
        {"control": row["role"], "verdict": f"left out{row['label'].removeprefix(row['role'])}: {row['skipped']}"}
        for row in left_out.to_dict("records")
    ]
    planned = set(design["role"]) - set(left_out["role"]) - present
    for name in (name for name in CONTROLS if name in planned):
        trials = design.loc[design["role"] == name, "trial_id"].dropna()
        diverged = all(done.get(trial, Done()).diverged for trial in trials)
        rows.append({"control": name, "verdict": "not judged: its training diverged" if diverged else "not run yet"})
    return pd.DataFrame(rows, columns=[*COLUMNS, "verdict"])


def show(table: pd.DataFrame) -> bool:
    """Print a table of verdicts; whether none of its `ok` is False."""
    with pd.option_context("display.width", None, "display.max_colwidth", None, "display.max_columns", None):
        text = table.to_string(index=False, na_rep="-", float_format="{:.4g}".format)
        say(*text.split("\n"))
    return not table["ok"].eq(False).fillna(False).any()
