"""No secret stays on the machine after a sweep and all that reads its store, nor in Ray's logs while it runs."""

import json

import pytest

from tests.left_behind.planted import ENVIRONMENT, SECRETS, found_below, found_in

pytestmark = [pytest.mark.timeout(3600), pytest.mark.long]


def test_all_commands_did_what_they_are_for(left):
    for name, done in left.done.items():
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
    assert b"MLflow is not reachable" in left.done["sweep"].stdout
    for name in ("mlflow.db", "mlartifacts", "figures", "public/study.json", "results/small/reports/report.html"):
        assert (left.work / name).exists(), name


def test_no_command_prints_a_secret(left):
    for name, done in left.done.items():
        assert found_in(done.stdout + done.stderr, SECRETS) == [], name


def test_no_file_that_stays_has_a_secret_but_the_study_file(left):
    found = {path for folder in (left.work, left.home, left.temporary) for path, _ in found_below(folder, SECRETS)}
    assert found == {str(left.work / "study.yaml")}


def test_no_log_of_ray_has_a_secret_or_its_token_while_it_runs(left):
    logs = {path.name for path in (left.watched / "ray" / "logs").iterdir()}
    assert {"runtime_env_agent.log", "gcs_server.out", "raylet.out"} <= logs
    token = json.loads((left.watched / "seen.json").read_text())["token"]
    assert found_below(left.watched / "ray", [*SECRETS, token]) == []


def test_workers_have_the_credentials_all_the_same(left):
    told = json.loads((left.watched / "worker.json").read_text())["variables"]
    assert {name for name, is_there in told.items() if is_there} >= {name for name in ENVIRONMENT if "AWS" in name}
    assert not told["RAY_AUTH_TOKEN"]  # of a cluster, which is no business of this Ray
