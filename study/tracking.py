"""MLflow as a view of the store: one parent run a study, one child run a trial, written by the driver alone."""

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mia_core.defenses.accounting import guarantee
from mia_core.hashing import content_id
from study.design import STUDY, Design
from study.store import Store
from study.store.reading import trial_tables

LEAKAGE = (
    "auc",
    "auc_low",
    "auc_high",
    "accuracy_top_n",
    "accuracy_top_10pct",
    "advantage",
    "balanced_accuracy",
    "tpr_at_1pct_fpr",
    "p_value",
)
WORDS = ("dataset", "target", "split", "defense")
NUMBERS = ("train_size", "members", "epochs", "strength", "replicate", "epsilon")

# An absent server must not hold up a sweep: give up in seconds, not in minutes.
for _name, _value in {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}.items():
    os.environ.setdefault(_name, _value)


class Tracker:
    """Logs sealed trials. The first error says so once and switches it off; the store has everything all the same."""

    def __init__(self, design: Design, store: Store, about: Mapping[str, str], warn: Any) -> None:
        self._design = design
        self._store = store
        self._about = about
        self._warn = warn
        self._client: Any = None
        self._runs: dict[str, tuple[str, str]] = {}
        if design.spec.tracking:
            with self._tolerant():
                self._connect(design.spec.tracking)

    @contextlib.contextmanager
    def _tolerant(self) -> Any:
        try:
            yield
        except Exception as error:
            self._client = None
            first = (str(error).splitlines() or [type(error).__name__])[0]
            self._warn(f"MLflow is not reachable and gets nothing from this run ({first}); the store has it all")

    def _connect(self, uri: str) -> None:
        from mlflow.entities import Dataset, DatasetInput
        from mlflow.tracking import MlflowClient

        for name in ("alembic", "mlflow"):
            logging.getLogger(name).setLevel(logging.ERROR)
        client = MlflowClient(tracking_uri=uri)
        study = self._design.spec.study
        experiment = client.get_experiment_by_name(study)
        self._experiment = experiment.experiment_id if experiment else client.create_experiment(study, _artifacts(uri))
        found = client.search_runs([self._experiment], "tags.kind = 'study'", max_results=1)
        parent = (
            found[0]
            if found
            else client.create_run(self._experiment, tags={"kind": "study", "mlflow.runName": f"study {study}"})
        )
        self._parent = parent.info.run_id
        client.update_run(self._parent, status="RUNNING")
        for key, value in {**self._about, "spec": self._design.hash, "results": str(self._store.folder)}.items():
            client.set_tag(self._parent, key, value)
        if not parent.inputs.dataset_inputs:
            pool = self._design.pool
            split = content_id([pool.digest, self._design.spec.split.to_dict()])
            data = Dataset(name=pool.name, digest=split, source_type="local", source=json.dumps({"pool": pool.digest}))
            client.log_inputs(self._parent, [DatasetInput(dataset=data)])
        client.log_dict(self._parent, self._design.spec.resolved, "config.json")
        self._client = client
        self._find_runs()

    def _find_runs(self) -> None:
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment], f"tags.`mlflow.parentRunId` = '{self._parent}'", max_results=1000, page_token=token
            )
            for run in page:
                tags = run.data.tags
                self._runs[tags.get("trial_id", "")] = (run.info.run_id, tags.get("passes", ""))
            token = page.token
            if not token:
                return

    def reconcile(self) -> None:
        """Log every sealed trial of the design that MLflow lacks, or has less of."""
        wanted = {trial.trial_id for trial in self._design.every}
        if self._client:
            names: dict[str, list[str]] = {}
            for name, marker in self._store.markers().items():
                names.setdefault(marker["trial_id"], []).append(name)
            for trial_id in sorted(wanted & set(names)):
                if self._runs.get(trial_id, ("", ""))[1] != content_id(sorted(names[trial_id])):
                    self.log(trial_id)

    def log(self, trial_id: str) -> None:
        """Create or complete the run of one sealed trial, in one batch."""
        if self._client:
            with self._tolerant():
                self._log(trial_id)

    def _log(self, trial_id: str) -> None:
        from mlflow.entities import Metric, Param, RunTag

        markers, tables = trial_tables(self._store, trial_id)
        row = tables["trials"].iloc[0]
        time_ms = int(row["finished_at"].timestamp() * 1000)
        run_id = self._runs.get(trial_id, ("", ""))[0]
        if not run_id:
            strength = f"{'epsilon=' if pd.notna(row.get('target_epsilon')) else ''}{row['strength']:g}"
            name = f"n={row['train_size']} e={row['epochs']} {row['defense']} {strength} r={row['replicate']}"
            name = name if row["role"] == STUDY else f"{row['role']} {name}"
            tags = {"mlflow.parentRunId": self._parent, "mlflow.runName": name, "trial_id": trial_id, "kind": "trial"}
            tags |= self._about
            start = time_ms - int(row["seconds_train"] * 1000)
            run_id = self._client.create_run(self._experiment, start_time=start, tags=tags).info.run_id
            self._client.log_dict(run_id, json.loads(row["config"]), "config.json")
        passes = content_id(sorted(markers))
        own = [column for column in tables["trials"].columns if column in self._design.trial_columns]
        params = [Param(key, str(row[key])) for key in (*WORDS, *NUMBERS, *own) if pd.notna(row[key])]
        metrics = [Metric(key, value, time_ms, int(row["epochs"])) for key, value in _metrics(tables)]
        own_tags = {
            "passes": passes,
            "trajectory_id": row["trajectory_id"],
            "role": row["role"],
            "guarantee": guarantee(row["epsilon"], row["delta"]),
        }
        batch_tags = [RunTag(key, value) for key, value in own_tags.items()]
        self._client.log_batch(run_id, metrics=metrics, params=params, tags=batch_tags)
        self._client.set_terminated(run_id, "FINISHED", time_ms)
        self._runs[trial_id] = (run_id, passes)

    def close(self, complete: bool) -> None:
        """Say on the parent run how the sweep ended."""
        if self._client:
            with self._tolerant():
                self._client.set_terminated(self._parent, "FINISHED" if complete else "FAILED", int(time.time() * 1000))


def _metrics(tables: Mapping[str, pd.DataFrame]) -> Iterable[tuple[str, float]]:
    for row in tables["quality"].to_dict("records"):
        if pd.notna(row["value"]):
            yield f"quality/{row['measure']}_{row['extractor']}_{row['against']}", row["value"]
    for row in tables["attacks"].to_dict("records"):
        for column in LEAKAGE:
            if pd.notna(row.get(column)):  # stores of older versions lack some
                yield f"attack/{row['attack']}/{column}", row[column]


def _artifacts(uri: str) -> str | None:
    """Beside an SQLite file; a server decides for itself."""
    if not uri.startswith("sqlite:///"):
        return None
    return (Path(uri.removeprefix("sqlite:///")).absolute().parent / "mlartifacts").as_uri()
