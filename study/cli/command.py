"""What a subcommand of `mia-study` is: words for its help, its arguments, and what it does."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field

from study.outcomes import CODES

RUN = "Run a study"
JUDGE = "Watch and judge it"
READ = "Read what came out"
KEEP = "Keep it"
ELSEWHERE = "Clusters and shells"
GROUPS = (RUN, JUDGE, READ, KEEP, ELSEWHERE)
"""In the order of the help."""


@dataclass(frozen=True)
class Command:
    """One subcommand, or a pair of words such as `store check`.

    name: its words. run: gives the exit code; whatever is slow to import is imported inside of it, so that help and
    completion answer at once. prints: that it only prints, so that it ends without a word when its reader has gone.
    """

    name: str
    group: str
    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    details: str = ""
    examples: tuple[str, ...] = field(default=())
    codes: str = CODES
    prints: bool = False
