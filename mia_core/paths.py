"""Paths as users write them in settings and commands: `~` is the home folder, `$NAME` an environment variable."""

import os
import re
from pathlib import Path

from mia_core.errors import Refused, shorten

VARIABLE = re.compile(r"\$(\w+|\{[^}]*\})")


def expanded(path: str | Path, variables: bool = True) -> Path:
    """A path with `~` and `$NAME` expanded. Refused if the user, the variable or the home folder is unknown.

    variables: whether `$NAME` stands for a variable; otherwise it is part of a file name.
    """
    return Path(expanded_text(str(path), variables))


def expanded_text(text: str, variables: bool = True) -> str:
    """The same for a text that is a path or a URI."""
    found = os.path.expandvars(text) if variables else text
    if variables and (missing := VARIABLE.search(found)):
        name = missing[1].strip("{}")
        if not os.path.lexists(found):  # a file name may contain a dollar sign
            raise Refused(f"{shorten(text)}: there is no variable {shorten(name)}; set it, or write the path out")
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
