"""Files that others may have made: only regular ones are read, whole, and no larger than their kind may be."""

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
    """A file's content. OSError, at once, unless it is a regular file of at most `most` bytes.

    A pipe or a device, from which reading might never end, is refused instead. follow: a link at the path itself.
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
    """A file to lock, made where there is none and never changed; OSError unless it is a regular file, and no link."""
    return open_regular(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)


def open_regular(path: str | Path, flags: int) -> BinaryIO:
    """Open without waiting for anybody; OSError, whose `strerror` says what it is, unless it is a regular file."""
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
