"""Paths as people write them in settings and on command lines: `~` is the home folder, `$NAME` a variable."""

import os
import re
from pathlib import Path

from mia_core.errors import Refused, shorten

VARIABLE = re.compile(r"\$(\w+|\{[^}]*\})")


def expanded(path: str | Path, variables: bool = True) -> Path:
    """A path without `~` and `$NAME`. Refused where there is no such user or variable, or nobody's home is known.

    variables: whether `$NAME` is one, or a part of a name.
    """
    return Path(expanded_text(str(path), variables))


def expanded_text(text: str, variables: bool = True) -> str:
    """The same of a text that is a path, or a URI."""
    found = os.path.expandvars(text) if variables else text
    if variables and (missing := VARIABLE.search(found)):
        name = missing[1].strip("{}")
        if not os.path.lexists(found):  # a name may have a dollar, where it is there
            raise Refused(f"{shorten(text)}: there is no variable {shorten(name)}; set it, or write the path out")
    if not found.startswith("~"):
        return found
    whole = os.path.expanduser(found)  # noqa: PTH111  leaves what is nobody's, where pathlib raises
    if whole.startswith("~"):
        user = whole.partition("/")[0]
        why = "no home folder is known (HOME is not set)" if user == "~" else f"there is no user {shorten(user[1:])}"
        raise Refused(f"{shorten(text)}: {why}; write the path out")
    if not whole.startswith("/"):
        raise Refused(f"{shorten(text)}: HOME is {shorten(repr(whole))}, and no absolute path; write the path out")
    return whole
