"""One sweep with secrets planted in its environment and study file, and all that is then done with its store."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from study.machine import PROJECT
from study.spec import documents
from study.spec.overrides import override
from tests.left_behind.planted import ENVIRONMENT, TRACKING
from tests.shared import FOLDER, once
from tests.small import SMALL

SETTINGS = (
    "factors.train_size=[40]", "factors.epochs=[1]", "factors.defense=[none, {name: dropout, rate: 0.5}]",
    "attacks=[white_box, {name: euclidean, generated: 64}]", "quality.measures=[kid]", "quality.against=[unseen]",
    "controls.nulls=1", "controls.copycat=false", "controls.permutations=99", f"tracking={json.dumps(TRACKING)}",
)  # fmt: skip
COMMANDS = {
    "sweep": ["tests.left_behind.watched", "study.yaml"],
    "readers": ["tests.left_behind.readers"],
}
UMASK = 0o022
PLACES = ("work", "home", "watched")


@pytest.fixture(scope="session")
def left():
    """Folders `work`, `home`, `temporary`, `watched`, and `done`, each command as it ended."""
    folder, done = once("left", _commands)
    ended = {
        name: subprocess.CompletedProcess(name, code, said.encode("latin-1"), complained.encode("latin-1"))
        for name, (code, said, complained) in done.items()
    }
    return SimpleNamespace(**{name: folder / name for name in PLACES}, temporary=_temporary(), done=ended)


def _temporary() -> Path:
    """Short, for Ray's sockets."""
    return Path(os.environ[FOLDER]) / "t"


def _commands(folder: Path) -> dict[str, tuple[int, str, str]]:
    """Run them; exit code and output, a character a byte."""
    for name in PLACES:
        (folder / name).mkdir()
    shutil.rmtree(_temporary(), ignore_errors=True)
    _temporary().mkdir()
    document = documents.parse(SMALL, "small")
    for setting in SETTINGS:
        override(document, setting)
    (folder / "work" / "study.yaml").write_text(json.dumps(document))
    own = {
        "HOME": folder / "home", "TMPDIR": _temporary(), "WATCHED": folder / "watched", "PYTHONPATH": PROJECT,
    }  # fmt: skip
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RAY_", "XDG_", "MIA_STUDY_", "JUPYTER", "IPYTHON", "MLFLOW_", "AWS_"))
    }
    environment = {**kept, **ENVIRONMENT, **{name: str(value) for name, value in own.items()}}
    done = {
        name: subprocess.run(
            [sys.executable, "-m", *command], cwd=folder / "work", env=environment, umask=UMASK, capture_output=True,
            timeout=1200, check=False,
        )
        for name, command in COMMANDS.items()
    }  # fmt: skip
    return {
        name: (one.returncode, one.stdout.decode("latin-1"), one.stderr.decode("latin-1")) for name, one in done.items()
    }
