"""Commands of the project, for tests: in this process, or in one of their own."""

import contextlib
import importlib
import io
import runpy
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

MODULES = {
    "sweep": "study.sweep",
    "trial": "study.cli.one_trial",
    "track": "study.cli.fill_tracking",
    "status": "study.cli.status",
    "search": "study.run.search",
    "controls": "study.verdicts.controls",
    "audit": "study.verdicts.claims",
    "store": "study.store.__main__",
    "tables": "analysis.tables",
    "figures": "analysis.figures",
    "report": "analysis.report.__main__",
    "notebooks": "analysis.notebooks.__main__",
}
START = f"import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_module({MODULES}[sys.argv[0]], run_name='__main__')"
MIA_STUDY = (sys.executable, "-c", START)
"""The words before a command, where it is a process of its own."""


def script(words: Sequence[str]) -> None:
    """What such a process does, in this one, which it ends."""
    sys.argv = list(words)
    runpy.run_module(MODULES[words[0]], run_name="__main__")


def mia_study(command: str) -> Callable[[Sequence[str]], int]:
    """A command: takes the words after it, gives the exit code."""
    name, *words = command.split()
    return lambda more: importlib.import_module(MODULES[name]).main([*words, *map(str, more)])


def run_here(command: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command in this process, as if in a folder; its exit code, and what it printed."""
    said, complained = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
        code = mia_study(command)(words)
    return subprocess.CompletedProcess([command, *words], code, said.getvalue(), complained.getvalue())
