"""A release as a study file, as its user runs it on a cluster: under Ray, with MLflow, into a bucket."""

import subprocess

import pandas as pd
import pytest
import yaml
from mlflow.tracking import MlflowClient

from study.outcomes import COMPLETE
from study.store import Store, read
from tests.commands import MIA_STUDY, run_here
from tests.small import add_database, database
from tests.study.given_release import copied, document

ELSEWHERE = ["seconds", "seconds_train", "seconds_attack", "peak_bytes", "finished_at", "versions", "config"]
"""Columns that say when and where: `config` has the folders of the records, which stand elsewhere here."""


@pytest.mark.slow
def test_a_release_under_ray_with_mlflow_in_a_bucket_has_the_bits_of_one_in_a_folder(bucket, tmp_path):
    copied(tmp_path)
    add_database(tmp_path)
    file = tmp_path / "cluster.yaml"
    file.write_text(yaml.safe_dump(document(tmp_path, results=bucket, tracking=database(tmp_path))))
    command = [*MIA_STUDY, "sweep", str(file)]  # its workers reach the bucket by its own environment
    first, again = (
        subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False)
        for _ in range(2)
    )
    assert first.returncode == COMPLETE, first.stdout + first.stderr
    assert again.returncode == COMPLETE and "done: " not in again.stdout
    store, here = Store(bucket, "given"), Store(tmp_path / "results", "given")
    for table in ("trials", "attacks", "scores", "quality"):
        found, wanted = (
            read(str(one.root), "given", table).drop(columns=ELSEWHERE, errors="ignore").reset_index(drop=True)
            for one in (store, here)
        )
        pd.testing.assert_frame_equal(found, wanted)

    client = MlflowClient(database(tmp_path))
    (experiment,) = [one for one in client.search_experiments() if one.name == "given"]
    runs = client.search_runs([experiment.experiment_id])
    trials = read(bucket, "given", "trials")
    sealed = {run.data.tags["trial_id"]: run for run in runs if run.data.tags.get("kind") != "study"}
    assert sealed.keys() == set(trials["trial_id"]) and len(runs) == len(sealed) + 1
    (release,) = trials[trials["role"] == "release"]["trial_id"]
    attacks = read(bucket, "given", "attacks").dropna(subset=["auc"]).set_index("attack")
    logged = sealed[release].data.metrics
    auc = attacks[attacks["trial_id"] == release].loc["euclidean_generated150", "auc"]
    assert any(value == pytest.approx(auc) for name, value in logged.items() if "euclidean_generated150" in name)
    assert str(tmp_path) not in str([run.data.to_dictionary() for run in runs])  # no folder of records

    assert run_here("status", tmp_path, store.uri).returncode == COMPLETE
    page = tmp_path / "answer.html"
    assert run_here("report", tmp_path, store.uri, "--out", str(page)).returncode == COMPLETE
    assert "samples that equal a member" in page.read_text()
