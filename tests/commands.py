"""`mia-study` in this process, for tests."""

import sys
from collections.abc import Callable, Sequence

from study.cli.main import main

MIA_STUDY = (sys.executable, "-c", "import sys; from study.cli.main import script; sys.exit(script())")
"""The words before a subcommand, where it is a process of its own: this environment's, of this working tree."""


def mia_study(command: str) -> Callable[[Sequence[str]], int]:
    """A subcommand, such as `store check`: takes the words after it, gives the exit code."""
    return lambda words: main([*command.split(), *map(str, words)])
