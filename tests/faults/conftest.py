"""Figures of the soak: what was injected, what it cost; printed at the end, and kept in build/faults.json."""

import json
import subprocess
import time

import pytest

from study.outcomes import COMPLETE
from tests.commands import run_here
from tests.faults.faulty import PROJECT, write_study
from tests.shared import once
from tests.small import start_ray

FIGURES = pytest.StashKey[list]()
UNDISTURBED = pytest.StashKey[float]()


@pytest.fixture(scope="session")
def undisturbed(pytestconfig):
    """The folder of a sweep that nothing happened to, in one process of the tests, on one worker at a time."""

    def make(folder):
        write_study(folder)
        started = time.monotonic()
        start_ray()
        done = run_here("sweep", folder, "faulty.yaml", "--set", "compute.concurrent=1")
        assert done.returncode == COMPLETE, done.stdout + done.stderr
        return time.monotonic() - started

    folder, pytestconfig.stash[UNDISTURBED] = once("undisturbed", make)
    return folder


@pytest.fixture
def record(request, undisturbed):
    """Keep a test's figures; called last, after `assert_as_undisturbed`, so that what is listed was equal.

    injected: faults. redone: training steps that were done again. extra_seconds: beyond an undisturbed sweep's.
    """
    started = time.monotonic()

    def keep(injected, redone, **others):
        extra = time.monotonic() - started - request.config.stash[UNDISTURBED]
        figures = {"injected": injected, "redone": redone, "extra_seconds": round(extra)}
        request.config.stash.setdefault(FIGURES, []).append({"test": request.node.name, **figures, **others})

    return keep


def pytest_terminal_summary(terminalreporter, config):
    """The table, with date and commit."""
    rows = config.stash.get(FIGURES, [])
    if not rows:
        return
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=PROJECT, capture_output=True, text=True)
    about = {
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip() or "unknown",
        "undisturbed_seconds": round(config.stash[UNDISTURBED]),
    }
    path = PROJECT / "build" / "faults.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**about, "tests": rows}, indent=2) + "\n")
    terminalreporter.section(f"faults of {about['date']} at {about['commit']}, kept in {path.relative_to(PROJECT)}")
    seconds = about["undisturbed_seconds"]
    terminalreporter.write_line(f"every store below ended as that of an undisturbed sweep, which took {seconds} s")
    for row in rows:
        words = [f"{key.replace('_', ' ')} {value}" for key, value in row.items() if key != "test"]
        terminalreporter.write_line(f"{row['test']}: {', '.join(words)}")
