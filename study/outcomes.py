"""Exit codes of every command, and the one place that turns what went wrong into a line and a code."""

import contextlib
import errno
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mia_core.errors import Refused, shorten
from study.store.files import Damaged
from study.terminal import say

if TYPE_CHECKING:
    from mia_core.metrics.decisions import Decision  # with torch, which takes seconds

COMPLETE, INCOMPLETE, REFUSED = 0, 1, 2
EXCEEDED, CANNOT_BE_SHOWN = 1, 3
"""Of a command that decides about limits, beside COMPLETE: no limit is exceeded by the attacks tried."""

AGAIN = "the same command goes on"
CODES = f"""exit codes:
  {COMPLETE}  done
  {INCOMPLETE}  not done, or not all of it: {AGAIN}
  {REFUSED}  refused: nothing was run, and the line says what to change"""
"""For the help of a command that has no codes of its own."""


NO_NAMES = (errno.ENAMETOOLONG, errno.ELOOP)
"""What is wrong with a name that a user gave, and not with the storage."""


class Stopped(Exception):
    """What keeps a command from going on after it has done some of its work."""


def code_of(decision: "Decision") -> int:
    """The exit code of a decision about limits."""
    codes = {"not_exceeded": COMPLETE, "exceeded": EXCEEDED, "cannot_be_shown": CANNOT_BE_SHOWN}
    return codes[decision.value]


def outcome(command: Callable[[], int]) -> int:
    """Run a command; its exit code.

    A refusal and a damaged file are one line and REFUSED. What a command cannot help (storage, memory, Ctrl-C) is one
    line and INCOMPLETE. Anything else is a bug of this project: its traceback is shown, and it is called one.
    """
    try:
        return command()
    except (Refused, Damaged) as error:
        return _say(f"refused: {error}", REFUSED)
    except Stopped as error:
        return _say(f"stopped: {error}; {AGAIN}", INCOMPLETE)
    except OSError as error:
        if error.errno in NO_NAMES:
            return _say(f"refused: {_of_file(error)}; name another place", REFUSED)
        return _say(f"stopped: {_of_file(error)}; {AGAIN}", INCOMPLETE)
    except MemoryError:
        return _say(f"stopped: this machine's memory is used up; with more of it, {AGAIN}", INCOMPLETE)
    except KeyboardInterrupt:
        return _say(f"interrupted; {AGAIN}", INCOMPLETE)
    except Exception:
        traceback.print_exc()
        say("", stderr=True)
        words = "This is a bug in mia-study, not a mistake of yours. What was sealed is safe. Please report this text."
        return _say(words, INCOMPLETE)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Refused where what the user asked to be written cannot be: no such folder, no right to, no room."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise Refused(f"{path}: cannot be written: {why}; name another place, or free this one") from None


def _say(line: str, code: int) -> int:
    say(line, stderr=True)
    return code


def _of_file(error: OSError) -> str:
    """The file, where the error names one, and what is wrong with it."""
    if error.filename is None or error.strerror is None:
        return str(error) or type(error).__name__
    return f"{shorten(str(error.filename2 or error.filename))}: {error.strerror}"
