"""`python -m tests.doc_pictures results/digits mlflow.db docs`: docs/report.png and docs/mlflow_compare.png.

The head of a study's report, and MLflow's comparison of its trials, from what a sweep left; needs chromium.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

from mlflow.tracking import MlflowClient

from study.store import Store
from tests.browser import browser
from tests.commands import mia_study
from tests.mlflow_ui import choose, compare, mlflow_server

report = mia_study("report")

PARAMETERS = ("train_size", "epochs", "strength")
METRICS = ("attack/white_box/auc", "quality/kid_domain_unseen")
CLOSE_ASSISTANT = """
[...document.querySelectorAll("button")].find((button) => {
  const box = button.getBoundingClientRect();
  return box.x > innerWidth - 60 && box.y < 60;
})?.click()
"""


def main(study: str, database: str, out: str) -> int:
    """Write both pictures."""
    with tempfile.TemporaryDirectory() as scratch, browser() as page:
        path = Path(scratch) / "report.html"
        if report([study, "--out", str(path)]):
            return 1
        page.open(path.as_uri(), 1300, 1060)
        page.wait("document.readyState === 'complete' && document.querySelector('h1')")
        page.photograph(Path(out) / "report.png")
        shutil.copy(database, Path(scratch) / "mlflow.db")
        client = MlflowClient(f"sqlite:///{scratch}/mlflow.db")
        experiment = client.get_experiment_by_name(Store.at(study).study)
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id], "tags.role = 'study'", max_results=200)
        with mlflow_server(Path(scratch)) as (address, start):
            start()
            compare(page, address, experiment.experiment_id, [run.info.run_id for run in runs], height=640)
            page.run(CLOSE_ASSISTANT)
            choose(page, PARAMETERS, METRICS)
            time.sleep(2)  # plots are drawn anew where there is more room
            page.photograph(Path(out) / "mlflow_compare.png")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
