"""Paths as users write them in settings and commands: `~` is the home folder, `$NAME` an environment variable.

A study file or a store may be somebody else's, and a path in it may go to a bucket, a message or a report. So in
settings `$NAME` stands for harmless variables alone, and a credential of the environment reaches no path.
"""

import os
import re
from pathlib import Path
from typing import Literal

from mia_core.errors import Refused, shorten

VARIABLE = re.compile(r"\$(\w+|\{[^}]*\})", re.ASCII)
HARMLESS = frozenset(
    {"HOME", "USER", "LOGNAME", "HOSTNAME", "PWD", "TMPDIR", "SCRATCH", "WORK", "SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID"}
)
OWN = "MIA_"
"""Names that begin so are set for studies, and for nothing else."""

Variables = Literal["harmless", "all", "none"]
"""Which variables a path may name: those of HARMLESS, of OWN, and those that hold the path of a folder that exists; all
of the environment, for what a user typed or set; none, where `$NAME` is part of a file name."""


def expanded(path: str | Path, variables: Variables = "harmless") -> Path:
    """A path with `~` and `$NAME` expanded.

    Refused if the user, the variable or the home folder is unknown, or if the path may not name the variable.
    """
    return Path(expanded_text(str(path), variables))


def expanded_text(text: str, variables: Variables = "harmless") -> str:
    """The same for a text that is a path or a URI."""
    if "\0" in text:
        raise Refused(f"{shorten(repr(text))}: no path has a character 0; write it without")
    found = text if variables == "none" else _with_values(text, variables)
    if not found.startswith("~"):
        return found
    whole = os.path.expanduser(found)  # noqa: PTH111  leaves an unknown user's `~` as it is, where pathlib raises
    if whole.startswith("~"):
        user = whole.partition("/")[0]
        why = "no home folder is known (HOME is not set)" if user == "~" else f"there is no user {shorten(user[1:])}"
        raise Refused(f"{shorten(text)}: {why}; write the path out")
    if not whole.startswith("/"):
        raise Refused(f"{shorten(text)}: HOME is {shorten(repr(whole))}, and no absolute path; write the path out")
    return whole


def _with_values(text: str, variables: Variables) -> str:
    unknown: list[str] = []

    def value(match: re.Match[str]) -> str:
        name = match[1].strip("{}")
        if name not in os.environ:
            unknown.append(name)
            return match[0]
        if variables == "harmless" and not _is_harmless(name, os.environ[name]):
            raise Refused(
                f"{shorten(text)}: a setting may not name the variable {shorten(name)}, whose value might be a secret; "
                f"write the path out, or set a variable {OWN}... to it"
            )
        return os.environ[name]

    found = VARIABLE.sub(value, text)
    if unknown and not os.path.lexists(found):  # a file name may contain a dollar sign
        raise Refused(f"{shorten(text)}: there is no variable {shorten(unknown[0])}; set it, or write the path out")
    return found


def _is_harmless(name: str, value: str) -> bool:
    if name in HARMLESS or name.startswith(OWN):
        return True
    try:
        return value.startswith("/") and Path(value).is_dir()
    except (OSError, ValueError):
        return False
