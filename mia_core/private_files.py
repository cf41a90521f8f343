"""Folders and files for their owner alone, whatever the umask: what is kept shows records, or who was a member.

What exists already keeps its mode.
"""

import os
from pathlib import Path
from typing import IO, Any

FOLDER, FILE = 0o700, 0o600


def make_folder(folder: Path, mode: int = FOLDER) -> None:
    """Make a folder, and those above it, where they are missing."""
    try:
        folder.mkdir(mode, exist_ok=True)
    except FileNotFoundError:
        if folder.parent == folder:
            raise
        make_folder(folder.parent, mode)
        folder.mkdir(mode, exist_ok=True)


def open_file(path: Path, how: str, mode: int = FILE) -> IO[Any]:
    """What `open(path, how)` gives, UTF-8 where it is text; a file that this makes has the mode."""
    encoding = None if "b" in how else "utf-8"
    return open(path, how, encoding=encoding, opener=lambda name, flags: os.open(name, flags, mode))
