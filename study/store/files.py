"""Files that are whole or absent: temporary name, fsync, rename, fsync of the folder; and for their owner alone."""

import contextlib
import errno
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
NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.EMLINK, errno.EXDEV}
"""What file systems without hard links say: exFAT, CIFS, FUSE such as gcsfuse."""
NO_SYNC = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
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


def write(path: Path, data: bytes, modes: Modes = PRIVATE, sync: bool = True) -> None:
    """Create or replace; Damaged where a folder lies in its place. sync: the folder, too, so that the name lasts."""
    temporary = _temporary(path, data, modes)
    try:
        temporary.replace(path)
    except OSError as error:
        temporary.unlink()
        if isinstance(error, IsADirectoryError):
            raise Damaged(f"{path}: is a folder, where a file belongs; move it away") from None
        raise
    if sync:
        sync_folder(path.parent)


def create(path: Path, data: bytes, modes: Modes = PRIVATE, sync: bool = True) -> bool:
    """Create unless it exists; False when somebody else was first. The file appears whole. sync: as of `write`.

    On a file system without hard links it appears empty and is then written: a reader in between takes it for damaged,
    and who replaces it meanwhile was first.
    """
    temporary = _temporary(path, data, modes)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return _create_in_place(path, data, modes)
    finally:
        temporary.unlink()
    if sync:
        sync_folder(path.parent)
    return True


def _create_in_place(path: Path, data: bytes, modes: Modes) -> bool:
    try:
        with private_files.open_file(path, "xb", modes.file) as file:
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            except OSError:  # as when it is full: nobody shall find a part of it
                path.unlink(missing_ok=True)
                raise
    except FileExistsError:
        return False
    sync_folder(path.parent)
    return path.read_bytes() == data


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


def sync_folder(folder: Path) -> None:
    """Where the file system can: some, of other systems or over a network, sync no folders."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno in (*NO_SYNC, errno.EISDIR):
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
    finally:
        os.close(descriptor)
