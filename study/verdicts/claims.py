"""Whether private arms keep what their epsilon claims, from a study's store alone.

An attack guesses the coins by which records, or canaries, were put into the training sets of a cell, all replicates
together; too many right guesses contradict the accounted privacy profile. All claims of a study are one family (Holm
1979), so that a study whose claims hold is flagged in at most 5 % of cases. Which attack guesses is the spec's
`audit.attack`; how many coins it guesses follows from the claim. A derived attack guesses forward, each replicate by
those before it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mia_core.data.split import FAIR
from mia_core.defenses import labels_of
from mia_core.defenses.accounting import profile
from mia_core.metrics.audit import DELTA, DELTAS, FEWEST_COINS, LARGEST_EPSILON, Guesses, Profile
from mia_core.persons import PERSON, RECORD
from mia_core.streams import Streams
from study.design.refusals import no_coins
from study.design.trial_config import TrialConfig, parsed
from study.spec.factors import Budget, budget_of
from study.store import Store, read
from study.store.noise import GUESSABLE, noise_from_seed
from study.store.reading import targets_now
from study.store.roles import CANARY, STUDY
from study.verdicts.controls import ALPHA, Scores, holm, read_attacks
from study.verdicts.forward import forward_scores

PANEL, CANARIES = "panel", "canaries"
COLUMNS = (
    *("audit", "attack", "target", "arm", "train_size", "epochs", "trainings", "coins", "guesses", "right"),
    *(
        "epsilon",
        "epsilon_unit",
        "delta",
        "epsilon_low",
        "epsilon_ceiling",
        "epsilon_low_gaussian",
        "epsilon_ceiling_gaussian",
    ),
    *("p", "p_holm", "ok", "verdict"),
)


def verdicts(root: str | Path, study: str) -> pd.DataFrame:
    """One row a cell (at its last level) and source of coins, with columns COLUMNS (steps for epochs, by the factors).

    right: of `guesses`, the surest about `coins`. epsilon, epsilon_unit, delta: as accounted, per record or per person;
    epsilon is null for arms that claim nothing. A claim per person is judged by coins that decide about all records of
    a person each, who has one record (`Split.person_coins`), and by canaries, who are persons of their own.
    epsilon_low: what a quarter of the coins, guessed, proves of any mechanism at that delta, with 95 % confidence;
    epsilon_ceiling: what perfect guesses would. The same with _gaussian: if the mechanism is a Gaussian one, as DP-SGD
    of many steps nearly is. p: of the claim, with its whole privacy profile; p_holm: over the study. ok: False where
    the claim is contradicted, null where there is none. `attrs["trials"]`: ids of each row's trainings.
    """
    store = Store(root, study)
    resolved, design = store.resolved(), read(root, study, "design")
    attack = resolved.get("audit", {}).get("attack")
    fair = resolved["split"].get("probability", FAIR) == FAIR  # else no query has an audit coin, and none is read
    guessing = (design["role"] == STUDY) & _of(design["label"], attack) & fair
    rows, scores = read_attacks(store, design[guessing | (design["role"] == CANARY)])
    budget = budget_of(resolved.get("factors", {}))
    if rows.empty:
        return _finish([], budget)
    rows["target"] = targets_now(rows, design)
    configs = parsed(rows["config"])
    cells = {config.cell: config for config in configs.values()}
    rows["cell"] = [configs[text].cell for text in rows["config"]]
    last = rows.groupby("cell")["steps"].transform("max") == rows["steps"]
    deepest = rows.groupby(["trial_id"])["attack_steps"].transform("max").fillna(-1) == rows["attack_steps"].fillna(-1)
    swaps = resolved["split"].get("filler") == "fill"
    rows = rows[last & deepest]
    scores = forward_scores(store, design, rows, scores)
    return _finish(list(_rows(rows, cells, scores, 2 if swaps else 1, budget)), budget)


def nothing(store: Store) -> str:
    """Why a study has no verdict."""
    resolved = store.resolved()
    design = store.design().to_pandas()
    guessed = design[(design["role"] == STUDY) & _of(design["label"], resolved.get("audit", {}).get("attack"))]
    if not set(guessed["trial_id"]) & store.done().keys():
        return "nothing to audit: no trial with the attack that guesses is sealed yet"
    units = set(read(store.root, store.study, "trials")["epsilon_unit"].dropna())
    return f"nothing to audit: {no_coins(resolved['split'], PERSON if units == {PERSON} else RECORD)}"


def lines(table: pd.DataFrame) -> list[str]:
    """Verdicts for the end of a sweep: every contradicted claim, else one line."""
    claims = table[table["ok"].notna()]
    failed = claims[~claims["ok"].astype(bool)]
    words = [f"{row.arm}, n={row.train_size}, {row.audit}: {row.verdict}" for row in failed.itertuples()]
    if len(claims) > len(failed):
        words.append(f"{len(claims) - len(failed)} of {len(claims)} claims of privacy are not contradicted")
    return words


def _of(labels: pd.Series, attack: str | None) -> pd.Series:
    """Which labels are an attack's, with or without a level of attack steps; none for None."""
    return labels.str.fullmatch(rf"{re.escape(attack)}(_steps\d+)?") if attack else labels == attack


def _rows(
    rows: pd.DataFrame, cells: Mapping[str, TrialConfig], scores: Scores, changes: int, budget: Budget
) -> Iterator[dict[str, Any]]:
    """cells: a config of each, by its text. changes: units, records or persons, that a coin of the panel changes."""
    words = labels_of(cells[cell].arm for cell in rows["cell"].unique())
    for (cell, attack, role), group in rows.groupby(["cell", "attack", "role"], sort=False):
        config, first = cells[str(cell)], group.iloc[0]
        found = _guesses(group, scores)
        if found.coins < FEWEST_COINS:
            continue
        claimed = pd.notna(first["epsilon"])
        delta = first["delta"] if claimed else DELTA
        changed = changes if role == STUDY else 1
        general, gaussian = found.bounds(delta, changed)
        row = {
            "audit": PANEL if role == STUDY else CANARIES,
            "attack": attack,
            "target": first["target"],
            "arm": words[config.arm],
            "train_size": first["train_size"],
            budget: first[budget],
            "trials": tuple(group["trial_id"]),
            "trainings": len(group),
            "coins": found.coins,
            "guesses": found.guesses[0],
            "right": found.right[0],
            "epsilon": first["epsilon"],
            "epsilon_unit": first["epsilon_unit"],
            "delta": delta,
            "epsilon_low": general.epsilon_low,
            "epsilon_ceiling": general.epsilon_ceiling,
            "epsilon_low_gaussian": gaussian.epsilon_low,
            "epsilon_ceiling_gaussian": gaussian.epsilon_ceiling,
        }
        if claimed:
            deltas = tuple(sorted({delta, *DELTAS}))
            epsilons = np.array(
                profile(((float(first["sigma"]), config.sampling_rate, int(first["steps"])),), deltas), dtype=float
            )
            claims = epsilons <= LARGEST_EPSILON  # a larger one claims nothing, as delta 1 does
            claim = Profile(np.where(claims, epsilons, 0), np.where(claims, deltas, 1))
            row["right"], row["guesses"], row["p"] = found.contradict(claim.of_group(changed))
        yield row


def _guesses(group: pd.DataFrame, scores: Scores) -> Guesses:
    """Of all replicates together; each ranks its own coins."""
    parts = []
    for trial, attack in zip(group["trial_id"], group["attack_id"], strict=True):
        part = scores[trial, attack]
        coins = part[part["coin"].fillna(False).astype(bool)] if "coin" in part else part.iloc[:0]
        ties = Streams("audit", trial, attack).numpy("ties")
        parts.append(Guesses.of(coins["score"].to_numpy(), coins["member"].to_numpy(bool), ties))
    return sum(parts, Guesses())


def _finish(rows: Sequence[dict[str, Any]], budget: Budget) -> pd.DataFrame:
    columns = [budget if name == "epochs" else name for name in COLUMNS]
    table = pd.DataFrame(list(rows), columns=[name for name in columns if name not in ("p_holm", "ok", "verdict")])
    claims = table["p"].notna()
    table["p_holm"] = np.nan
    table.loc[claims, "p_holm"] = holm(table.loc[claims, "p"].to_numpy(float))
    table["ok"] = (table["p_holm"] >= ALPHA).astype("boolean").where(claims)
    table["verdict"] = [_verdict(row) for row in table.to_dict("records")]
    table = table[columns]
    table.attrs["trials"] = [row["trials"] for row in rows]
    return table


def _verdict(row: Mapping[Any, Any]) -> str:
    if pd.isna(row["ok"]):
        return "claims nothing"
    return "not contradicted" if row["ok"] else "CONTRADICTED: trained with less privacy than its epsilon claims"


def notes(store: Store) -> list[str]:
    """What the epsilons of a study rest on, in sentences."""
    return [GUESSABLE] if noise_from_seed(store) else []
