"""`mia-study` for tests: in this process, or in one of its own."""

import contextlib
import io
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from study.cli.main import main

MIA_STUDY = (sys.executable, "-c", "import sys; from study.cli.main import script; sys.exit(script())")
"""The words before a subcommand, where it is a process of its own: this environment's, of this working tree."""


def script(words: Sequence[str]) -> None:
    """What such a process does, in this one, which it ends."""
    sys.exit(main(words, process=True))


def mia_study(command: str) -> Callable[[Sequence[str]], int]:
    """A subcommand, such as `store check`: takes the words after it, gives the exit code."""
    return lambda words: main([*command.split(), *map(str, words)])


def run_here(command: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command in this process, as if in a folder; its exit code, and what it printed."""
    said, complained = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
        code = mia_study(command)(words)
    return subprocess.CompletedProcess([command, *words], code, said.getvalue(), complained.getvalue())
