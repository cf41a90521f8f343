"""On the laptop: MLflow's runs through the tunnel, and that it answers nobody who gives another host's name."""

import sys
import urllib.error
import urllib.request

from mlflow import MlflowClient

PLACE = "http://127.0.0.1:5000"


def status(**headers):
    """HTTP status of a read with these headers."""
    request = urllib.request.Request(f"{PLACE}/ajax-api/2.0/mlflow/experiments/search?max_results=9", headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


if __name__ == "__main__":
    client = MlflowClient(PLACE)
    (experiment,) = client.search_experiments(filter_string="name = 'small'")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(children) == int(sys.argv[1])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert status() == 200
    assert status(Host="evil.example") == 403
    print("runs", len(children), "foreign host", status(Host="evil.example"))
