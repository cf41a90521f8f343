"""Where Python looks for modules: never in the folder that a command is run in, which may be full of somebody's files.

`mia-study` has no such folder on its path. `python -m` has it, and Ray gives it to its workers.
"""

import os
import sys

PACKAGES = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))  # noqa: PTH120  pathlib might be theirs
"""The folder that has the package `study`, and its sisters."""


def leave_working_folder() -> None:
    """Take the working folder, which `python -m` puts first, off this process's path; the checkout itself stays.

    Call it before anything but `os` and `sys` is imported. Processes that this one starts have no such folder either.
    """
    os.environ["PYTHONSAFEPATH"] = "1"
    first = os.path.realpath(sys.path[0] if sys.path else PACKAGES)
    if not sys.flags.safe_path and first == os.path.realpath(os.curdir) != PACKAGES:
        del sys.path[0]


def folders_of_packages() -> list[str]:
    """What a worker's path needs beside its own: the checkout, where this process has the packages from there."""
    return [PACKAGES] if PACKAGES in map(os.path.realpath, sys.path) and not _is_installed() else []


def _is_installed() -> bool:
    return os.path.basename(PACKAGES) in ("site-packages", "dist-packages")  # noqa: PTH119
