"""Read files that others may have written: regular files only, whole, and up to a maximal size."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

MEBIBYTE = 2**20
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_regular(path: str | Path, most: int, follow: bool = True) -> bytes:
    """The content of a file. OSError unless it is a regular file of at most `most` bytes.

    Pipes and devices are refused at once, since reading them might never end. follow: whether `path` may be a symbolic
    link.
    """
    with open_regular(path, os.O_RDONLY | (0 if follow else os.O_NOFOLLOW)) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise OSError(errno.EFBIG, f"has {size} bytes, and may have {most}", str(path))
        data = file.read(size + 1)
    if len(data) > size:
        raise OSError(errno.EFBIG, "grows while it is read", str(path))
    return data


def open_lock(path: str | Path) -> BinaryIO:
    """Open a file for locking; create it if missing, never write it. OSError unless it is regular and no link."""
    return open_regular(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)


def open_regular(path: str | Path, flags: int) -> BinaryIO:
    """Open without blocking. OSError, with the kind of file as its `strerror`, unless it is a regular file."""
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise _irregular(path, stat.S_IFSOCK) from None
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "is a link, and no regular file", str(path)) from None
        raise
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind != stat.S_IFREG:
        os.close(descriptor)
        raise _irregular(path, kind)
    return os.fdopen(descriptor, "r+b" if flags & os.O_RDWR else "rb")


def _irregular(path: str | Path, kind: int) -> OSError:
    return OSError(errno.EINVAL, f"is {KINDS.get(kind, 'something else')}, and no regular file", str(path))
