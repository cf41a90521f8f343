"""One sweep with secrets planted in its environment and study file, and all that is then done with its store."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from study.machine import PROJECT
from study.spec import documents
from study.spec.study_file import override
from tests.left_behind.planted import ENVIRONMENT, RESULTS, TRACKING
from tests.small import SMALL

SETTINGS = (
    "factors.train_size=[40]", "factors.epochs=[1]", "factors.defense=[none, {name: dropout, rate: 0.5}]",
    "attacks=[white_box, {name: euclidean, generated: 64}]", "quality.measures=[kid]", "quality.against=[unseen]",
    "controls.nulls=1", "controls.copycat=false", "controls.permutations=99", f"tracking={json.dumps(TRACKING)}",
)  # fmt: skip
COMMANDS = {
    "sweep": ["tests.left_behind.watched", "study.yaml"],
    "track": [
        "tests.left_behind.mia_study",
        "track",
        "results/small",
        "--tracking",
        "sqlite:///mlflow.db",
        "--include-records",
    ],
    "readers": ["tests.left_behind.readers"],
    "refused": ["study.sweep", "study.yaml", "--set", f"results={RESULTS}"],
}
UMASK = 0o022


@pytest.fixture(scope="session")
def left(tmp_path_factory):
    """Folders `work`, `home`, `temporary`, `watched`, and `done`, each command as it ended."""
    folder = tmp_path_factory.mktemp("left")
    places = {name: folder / name for name in ("work", "home", "watched")}
    for place in places.values():
        place.mkdir()
    temporary = Path(tempfile.mkdtemp(prefix="left-"))  # short, for Ray's sockets
    document = documents.parse(SMALL, "small")
    for setting in SETTINGS:
        override(document, setting)
    (places["work"] / "study.yaml").write_text(json.dumps(document))
    own = {"HOME": places["home"], "TMPDIR": temporary, "WATCHED": places["watched"], "PYTHONPATH": PROJECT}
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RAY_", "XDG_", "MIA_STUDY_", "JUPYTER", "IPYTHON", "MLFLOW_", "AWS_"))
    }
    environment = {**kept, **ENVIRONMENT, **{name: str(value) for name, value in own.items()}}
    try:
        done = {
            name: subprocess.run(
                [sys.executable, "-m", *command], cwd=places["work"], env=environment, umask=UMASK,
                capture_output=True, timeout=1200, check=False,
            )
            for name, command in COMMANDS.items()
        }  # fmt: skip
        yield SimpleNamespace(**places, temporary=temporary, done=done)
    finally:
        shutil.rmtree(temporary)
