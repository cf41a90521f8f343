"""What a trial's run in MLflow holds, from its sealed rows alone: words, numbers, metrics, files."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mia_core.defenses.accounting import guarantee
from mia_core.errors import Refused
from mia_core.hashing import content_id
from mia_core.persons import PERSON
from study.design.trial_config import TrialConfig
from study.spec.factors import Budget
from study.store import Store
from study.store.reading import trial_tables
from study.store.roles import STUDY
from study.store.schema import SCHEMAS
from study.store.seals import own_file

LEAKAGE = (
    "auc",
    "auc_low",
    "auc_high",
    "auc_all",
    "accuracy_top_n",
    "accuracy_top_10pct",
    "advantage",
    "balanced_accuracy",
    "tpr_at_1pct_fpr",
    "p_value",
    "epsilon_low",
    "epsilon_low_gaussian",
)
WORDS = ("dataset", "target", "split", "defense")
NUMBERS = ("train_size", "strength", "replicate", "epsilon", "target_epsilon")
SETTINGS = ("members", "delta", "epsilon_unit")
CODE = ("git_commit", "lock")


@dataclass(frozen=True)
class RunContent:
    """One run.

    passes: names of what is sealed of the trial. start_ms, end_ms: of the training itself, so that logging again
    repeats every point and adds none. files: contents by path. data: name of the pool, digest of pool and split, digest
    of the pool.
    """

    name: str
    passes: tuple[str, ...]
    start_ms: int
    end_ms: int
    step: int
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    files: dict[str, bytes]
    data: tuple[str, str, str]


def run_content(store: Store, trial_id: str, include_records: bool) -> RunContent:
    """Of one sealed trial; Damaged when its files changed. include_records: with samples, which may show records."""
    passes, tables = trial_tables(store, trial_id, ("trials", "quality", "attacks", "scores"))
    row = tables["trials"].iloc[0]
    config = TrialConfig.parse(row["config"])
    digest = config.value("data_digest", str)
    if pd.isna(row[config.budget]):
        raise Refused(f"trial {trial_id} has no {config.budget}, which its config gives")
    code = json.loads(row["versions"])
    end_ms = int(row["finished_at"].timestamp() * 1000)
    further = [column for column in tables["trials"].columns if column not in SCHEMAS["trials"]]
    factors = [name for name in further if "." in name]
    settings = [*SETTINGS, *(name for name in further if "." not in name)]
    return RunContent(
        name=_name(row, config.budget),
        passes=tuple(passes),
        start_ms=end_ms - int(row["seconds_train"] * 1000),
        end_ms=end_ms,
        step=int(row[config.budget]),
        params={
            **{key: str(row[key]) for key in (*WORDS, config.budget, *NUMBERS, *factors) if pd.notna(row.get(key))},
            # MLflow's comparison starts with the first three params by name that differ: those are to be factors
            **{f"setting/{key}": str(row[key]) for key in settings if pd.notna(row.get(key))},
        },
        metrics=dict(_metrics(tables)),
        tags={
            "trajectory_id": row["trajectory_id"],
            "role": row["role"],
            **({"flags": row["flags"]} if pd.notna(row.get("flags")) else {}),
            "guarantee": guarantee(row["epsilon"], row.get("delta"), row["epsilon_unit"]),
            **{key: code[key] for key in CODE if key in code},  # stores of older versions lack them
        },
        files=dict(_files(store, trial_id, tables, config, include_records)),
        data=(row["dataset"], content_id([digest, config.value("split", dict)]), digest),
    )


def _name(row: Any, budget: Budget) -> str:
    strength = f"{'epsilon=' if pd.notna(row.get('target_epsilon')) else ''}{row['strength']:g}"
    strength += f" unit={PERSON}" if row.get("epsilon_unit") == PERSON else ""
    length = {"epochs": "e", "steps": "steps"}[budget]
    name = (
        f"{row['target']} n={row['train_size']} {length}={row[budget]} {row['defense']} {strength} r={row['replicate']}"
    )
    return name if row["role"] == STUDY else f"{row['role']} {name}"


def _metrics(tables: Mapping[str, pd.DataFrame]) -> Iterator[tuple[str, float]]:
    for row in tables["quality"].to_dict("records"):
        if pd.notna(row["value"]):
            yield f"quality/{row['measure']}_{row['extractor']}_{row['against']}", row["value"]
    for row in tables["attacks"].to_dict("records"):
        for column in LEAKAGE:
            if pd.notna(row.get(column)):  # stores of older versions lack some
                yield f"attack/{row['attack']}/{column}", row[column]


def _files(
    store: Store, trial_id: str, tables: Mapping[str, pd.DataFrame], config: TrialConfig, include_records: bool
) -> Iterator[tuple[str, bytes]]:
    from study.tracking.pictures import roc_picture

    yield "config.json", json.dumps(config.values, indent=2).encode()
    picture = roc_picture(tables["attacks"], tables["scores"], _name(tables["trials"].iloc[0], config.budget))
    if picture:
        yield "attacks/roc.png", picture
    for marker in store.markers([trial_id]).values() if include_records else ():
        if grid := own_file(marker, f"samples/{trial_id}"):
            yield "samples/grid.png", store.sealed_bytes(grid, marker["files"][grid])
