"""Files that are whole or absent: temporary name, fsync, rename, fsync of the folder; and for their owner alone."""

import contextlib
import hashlib
import os
import secrets
from pathlib import Path
from typing import Any, NamedTuple

from mia_core import private_files


class Modes(NamedTuple):
    """Of folders and files that are made; the umask takes from them."""

    folder: int
    file: int


PRIVATE = Modes(private_files.FOLDER, private_files.FILE)
SHARED = Modes(0o777, 0o666)
"""As other programs make theirs."""


class Damaged(Exception):
    """A file of a study is missing, does not have the bytes it was sealed with, or is not what its name says."""


class Away(OSError):
    """Storage that cannot be reached, or refuses; said in one line."""


def sha256(data: bytes) -> str:
    """Hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def seal(data: bytes) -> dict[str, Any]:
    """What a marker says of a file: its size and sha256."""
    return {"bytes": len(data), "sha256": sha256(data)}


def write(path: Path, data: bytes, modes: Modes = PRIVATE) -> None:
    """Create or replace; Damaged where a folder lies in its place."""
    temporary = _temporary(path, data, modes)
    try:
        temporary.replace(path)
    except OSError as error:
        temporary.unlink()
        if isinstance(error, IsADirectoryError):
            raise Damaged(f"{path}: is a folder, where a file belongs; move it away") from None
        raise
    _sync_folder(path.parent)


def create(path: Path, data: bytes, modes: Modes = PRIVATE) -> bool:
    """Create unless it exists; False when somebody else was first. The file appears whole."""
    temporary = _temporary(path, data, modes)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    _sync_folder(path.parent)
    return True


def _temporary(path: Path, data: bytes, modes: Modes) -> Path:
    private_files.make_folder(path.parent, modes.folder)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with private_files.open_file(temporary, "xb", modes.file) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    return temporary


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
