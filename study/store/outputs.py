"""Files that a command writes where its user says."""

import os
import stat
from pathlib import Path

from mia_core import private_files
from study.store import files


def write_output(path: Path, data: bytes) -> None:
    """Create or replace a regular file, whole; OSError for what else is there.

    A link is not written through: others may have put it there. Nor is a device replaced by a file.
    """
    private_files.make_folder(path.parent)
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        raise FileExistsError(f"{path}: is there, and no regular file; remove it, or name another")
    files.write(path, data)
