"""What a trial's run in MLflow holds, from its sealed rows alone: words, numbers, metrics, loss curves, files."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from mia_core.defenses.accounting import guarantee
from mia_core.errors import Refused
from mia_core.hashing import content_id
from mia_core.persons import PERSON
from study.design.study_design import Design
from study.design.trial_config import TrialConfig
from study.design.trials import Trial
from study.spec.factors import Budget
from study.store import Store
from study.store.reading import tables_by_trial, trial_tables
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
ROC = "roc"
"""The folder of pictures that workers drew, sealed with their passes."""
CURVE_POINTS = 200
"""Of a curve, at most: its first and last epochs, and others at equal distances."""
UNCOVERED = "; it covers the trained networks, and nothing of history/*, attack/* and quality/*"
"""Metrics are functions of the records, and no noise was added to them."""
LONGEST = 6000
"""Characters of a parameter in MLflow."""


@dataclass(frozen=True)
class Begun:
    """The run of a trial whose training begins: what is known of it by then."""

    trial_id: str
    name: str
    params: dict[str, str]

    @classmethod
    def of(cls, design: Design, trial: Trial) -> "Begun":
        """Of a trial of a design; its parameters are among those that `run_content` gives once it is sealed."""
        arm = trial.cell.arm
        row = {
            "dataset": design.pool.name,
            "target": trial.cell.label,
            "split": design.spec.split.name,
            "defense": arm.defense,
            "train_size": trial.cell.train_size,
            trial.budget: trial.level,
            "strength": None if arm.strength is None else float(arm.strength),
            "replicate": trial.replicate,
            "role": trial.role,
            "epsilon_unit": arm.unit if arm.guaranteed else None,
            "target_epsilon": arm.columns().get("target_epsilon"),
        }
        known = (*WORDS, trial.budget, "train_size", "strength", "replicate")
        params = {key: str(row[key]) for key in known if row[key] is not None}
        settings = _settings(TrialConfig.of(design, trial))
        return cls(trial.trial_id, _name(row, trial.budget), params | settings)


@dataclass(frozen=True)
class RunContent:
    """One run.

    passes: names of what is sealed of the trial; models: of those, what is of more than derived attacks. start_ms,
    end_ms: of the training itself, so that logging again repeats every point and adds none. derived: metrics of derived
    attacks, which a later pass may replace; derived_ms: when the trial's last pass was sealed, so that MLflow shows the
    newest of them. curves: key, value, milliseconds and step of each point of the training's history, from its
    beginning. files: contents by path. data: name of the pool, digest of pool and split, digest of the pool.
    """

    name: str
    passes: tuple[str, ...]
    models: tuple[str, ...]
    start_ms: int
    end_ms: int
    step: int
    params: dict[str, str]
    metrics: dict[str, float]
    derived: dict[str, float]
    derived_ms: int
    curves: list[tuple[str, float, int, int]]
    tags: dict[str, str]
    files: dict[str, bytes]
    data: tuple[str, str, str]


def run_content(store: Store, trial_id: str, include_records: bool) -> RunContent:
    """Of one sealed trial; Damaged when its files changed. include_records: with samples, which may show records."""
    markers = store.markers([trial_id])
    passes, tables = trial_tables(store, trial_id, ("trials", "quality", "attacks", "scores"))
    design = store.design()
    derived = _derived_ids(tables["attacks"])
    tables = _without_superseded(tables, set(design["id"].to_pylist()))
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
    start_ms = end_ms - int(row["seconds_train"] * 1000)
    sealed = {name: markers.get(name, {}) for name in passes}
    logged = {name: logged_name(name, marker) for name, marker in sealed.items()}
    return RunContent(
        name=_name(row, config.budget),
        passes=tuple(logged.values()),
        models=tuple(logged[name] for name, marker in sealed.items() if not _is_derived(marker, derived)),
        start_ms=start_ms,
        end_ms=end_ms,
        step=int(row[config.budget]),
        params={
            **{key: str(row[key]) for key in (*WORDS, config.budget, *NUMBERS, *factors) if pd.notna(row.get(key))},
            # MLflow's comparison starts with the first three params by name that differ: those are to be factors
            **{f"setting/{key}": str(row[key]) for key in settings if pd.notna(row.get(key))},
            **_settings(config),
        },
        metrics=dict(_metrics(tables)),
        derived=dict(_metrics(tables, derived=True)),
        derived_ms=_sealed_ms(store, trial_id),
        curves=_curves(_history(store, design, row), config.budget, start_ms, end_ms),
        tags={
            "trajectory_id": row["trajectory_id"],
            "role": row["role"],
            **({"flags": row["flags"]} if pd.notna(row.get("flags")) else {}),
            "guarantee": _guarantee(row),
            **{key: code[key] for key in CODE if key in code},  # stores of older versions lack them
        },
        files=dict(_files(store, trial_id, tables, config, include_records)),
        data=(row["dataset"], content_id([digest, config.value("split", dict)]), digest),
    )


def _derived_ids(attacks: pd.DataFrame) -> set[str]:
    return set(attacks.loc[attacks["base"].notna(), "attack_id"]) if "base" in attacks else set()


def _is_derived(marker: Mapping[str, Any], derived: set[str]) -> bool:
    """Whether a pass is of these attacks alone."""
    work = marker.get("work", {"train": True})
    return not work["train"] and not work["measures"] and derived.issuperset(work["attacks"])


def _guarantee(row: Any) -> str:
    words = guarantee(row["epsilon"], row.get("delta"), row["epsilon_unit"])
    return words if pd.isna(row["epsilon"]) else words + UNCOVERED


def logged_name(name: str, marker: Mapping[str, Any]) -> str:
    """A pass, as the tag of a run names it: with the nonce, for a training done again has the name of the first.

    Passes of earlier versions go by their names alone, so that what was logged of them is not logged again.
    """
    return f"{name}-{marker['nonce']}" if "training" in marker else name


def _settings(config: TrialConfig) -> dict[str, str]:
    """Every setting of the target, its training and each defense of its arm: `setting/training.batch_size`."""
    parts = {"target": config.values.get("target"), "training": config.values.get("training")}
    arm = config.values.get("defense")
    parts |= {str(part.get("name")): part for part in arm or () if isinstance(part, dict)} if arm != "none" else {}
    found = {}
    for name, part in parts.items():
        for key, value in part.items() if isinstance(part, dict) else ():
            words = value if isinstance(value, str) else json.dumps(value)
            found[f"setting/{name}.{key}"] = words[:LONGEST]
    return found


def _without_superseded(tables: Mapping[str, pd.DataFrame], wanted: set[str]) -> dict[str, pd.DataFrame]:
    """Without derived attacks that were computed from fewer replicates than there are now. wanted: ids of a design."""
    attacks, scores = tables["attacks"], tables["scores"]
    old = _derived_ids(attacks) - wanted
    if not old:
        return dict(tables)
    return {
        **tables,
        "attacks": attacks[~attacks["attack_id"].isin(old)],
        "scores": scores[~scores["attack_id"].isin(old)] if len(scores) else scores,
    }


def _sealed_ms(store: Store, trial_id: str) -> int:
    sealed = (datetime.fromisoformat(marker["sealed_at"]) for marker in store.markers([trial_id]).values())
    return int(max(sealed).timestamp() * 1000)


def _history(store: Store, design: pa.Table, row: Any) -> pd.DataFrame:
    """Rows of a trial's training, from its beginning to the trial's level, as far as they are sealed."""
    trajectories = zip(design["trial_id"].to_pylist(), design["trajectory_id"].to_pylist(), strict=True)
    levels = {row["trial_id"], *(trial for trial, own in trajectories if trial and own == row["trajectory_id"])}
    parts = [tables["history"] for *_, tables in tables_by_trial(store, sorted(levels), ("history",))]
    rows = pd.concat([part for part in parts if len(part)] or [pd.DataFrame(columns=["step", "epoch"])])
    return rows[rows["step"] <= row["steps"]].sort_values(["step", "epoch"]).drop_duplicates("epoch", ignore_index=True)


def _curves(history: pd.DataFrame, budget: Budget, start_ms: int, end_ms: int) -> list[tuple[str, float, int, int]]:
    if history.empty:
        return []
    kept = np.unique(np.linspace(0, len(history) - 1, CURVE_POINTS).round().astype(int))
    spent = history["seconds"].fillna(0.0).cumsum()
    share = spent / spent.iloc[-1] if spent.iloc[-1] > 0 else spent
    found = []
    for column in sorted(history.columns.difference(["trajectory_id", "epoch", "step", "seconds"])):
        values = pd.to_numeric(history[column], errors="coerce")
        for at in kept if values.notna().any() else ():
            if pd.notna(values[at]):
                moment = start_ms + int((end_ms - start_ms) * share[at])
                step = int(history["epoch" if budget == "epochs" else "step"][at])
                found.append((f"history/{column}", float(values[at]), moment, step))
    return found


def run_name(trials: pd.DataFrame, budget: Budget) -> str:
    """Of the run of the one trial that a table has."""
    return _name(trials.iloc[0], budget)


def _name(row: Any, budget: Budget) -> str:
    strength = f"{'epsilon=' if pd.notna(row.get('target_epsilon')) else ''}{row['strength']:g}"
    strength += f" unit={PERSON}" if row.get("epsilon_unit") == PERSON else ""
    length = {"epochs": "e", "steps": "steps"}[budget]
    name = (
        f"{row['target']} n={row['train_size']} {length}={row[budget]} {row['defense']} {strength} r={row['replicate']}"
    )
    return name if row["role"] == STUDY else f"{row['role']} {name}"


def _metrics(tables: Mapping[str, pd.DataFrame], derived: bool = False) -> Iterator[tuple[str, float]]:
    """Of derived attacks, or of all else."""
    for row in () if derived else tables["quality"].to_dict("records"):
        if pd.notna(row["value"]):
            yield f"quality/{row['measure']}_{row['extractor']}_{row['against']}", row["value"]
    for row in tables["attacks"].to_dict("records"):
        if pd.notna(row.get("base")) != derived:
            continue
        for column in LEAKAGE:
            if pd.notna(row.get(column)):  # stores of older versions lack some
                yield f"attack/{row['attack']}/{column}", row[column]


def _files(
    store: Store, trial_id: str, tables: Mapping[str, pd.DataFrame], config: TrialConfig, include_records: bool
) -> Iterator[tuple[str, bytes]]:
    from study.tracking import pictures

    markers = store.markers([trial_id]).values()
    yield "config.json", json.dumps(config.values, indent=2).encode()
    drawn = [(marker, name) for marker in markers if (name := own_file(marker, f"{ROC}/{trial_id}"))]
    of_models = [row["attack_id"] for row in tables["attacks"].to_dict("records") if pd.isna(row["base"])]
    if len(drawn) == 1 and set(of_models) <= set(drawn[0][0]["work"]["attacks"]):  # else a later pass has further ones
        ((marker, name),) = drawn
        yield "attacks/roc.png", store.sealed_bytes(name, marker["files"][name])
    elif picture := pictures.roc_picture(
        tables["attacks"], tables["scores"], run_name(tables["trials"], config.budget)
    ):
        yield "attacks/roc.png", picture
    for marker in markers if include_records else ():
        if grid := own_file(marker, f"samples/{trial_id}"):
            yield "samples/grid.png", store.sealed_bytes(grid, marker["files"][grid])
