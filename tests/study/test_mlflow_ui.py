import shutil

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from study.store import read
from tests.browser import CHROMIUM, browser
from tests.commands import mia_study
from tests.mlflow_ui import axis, choose, compare, mlflow_server, scatter

main = mia_study("track")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.server,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (Debian: apt-get install chromium)"),
]
PARAMETERS = ["train_size", "epochs", "strength", "defense"]
METRICS = ["attack/white_box/auc", "quality/kid_domain_unseen"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_user_compares_trials_over_numeric_factors_leakage_and_quality(swept, tmp_path, monkeypatch):
    folder = shutil.copytree(swept[0] / "results" / "small", tmp_path / "results" / "small")
    (folder / "reports").mkdir()
    (folder / "reports" / "report.html").write_text("<p>the answer</p>")
    monkeypatch.chdir(tmp_path)
    assert main([str(folder), "--tracking", f"sqlite:///{tmp_path}/mlflow.db"]) == 0
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("small")
    runs = client.search_runs([experiment.experiment_id], "tags.role = 'study'")
    wide = read(folder.parent, "small", "wide")
    wide = wide[(wide["role"] == "study") & (wide["attack"] == "white_box")]
    assert len(runs) == len(wide)
    with mlflow_server(tmp_path) as (address, start), browser() as page:
        start()
        page.open(f"http://{address}/#/experiments/{experiment.experiment_id}/runs")
        page.wait("document.body.innerText.includes('study small')")
        compare(page, address, experiment.experiment_id, [run.info.run_id for run in runs])
        first = page.run("document.querySelector('.js-plotly-plot').data[0].dimensions.map(axis => axis.label)")
        assert first[:2] == ["defense", "epochs"]
        assert choose(page, PARAMETERS, METRICS) == [*PARAMETERS, *METRICS]
        for label, column in {"train_size": "train_size", "epochs": "epochs", "strength": "strength",
                              METRICS[0]: "auc", METRICS[1]: "kid_domain_unseen"}.items():  # fmt: skip
            assert sorted(axis(page, label)) == pytest.approx(sorted(wide[column]), rel=1e-9), label
        points = scatter(page, "epochs", METRICS[0])
        drawn = np.array(sorted(zip(points["x"], points["y"], strict=True)))
        assert drawn == pytest.approx(np.array(sorted(zip(wide["epochs"], wide["auc"], strict=True))))
        parent = next(run for run in client.search_runs([experiment.experiment_id], "tags.kind = 'study'"))
        page.open(f"http://{address}/#/experiments/{experiment.experiment_id}/runs/{parent.info.run_id}")
        page.wait("document.body.innerText.includes('The answer')")
        assert "report.html" in page.run("document.body.innerText")
        assert {item.path for item in client.list_artifacts(parent.info.run_id)} == {"config.json", "report.html"}
