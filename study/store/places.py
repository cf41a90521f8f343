"""Where a study's store lies, and the little that it needs of that place; here, a folder."""

import abc
import contextlib
import fcntl
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mia_core import private_files
from mia_core.errors import Refused
from mia_core.opening import MEBIBYTE, open_lock, open_regular, read_regular
from study.store import files
from study.store.files import PRIVATE, Damaged, Modes

MOST_BYTES = {"progress.json": 4 * MEBIBYTE, "failures": 4 * MEBIBYTE, "reports": 256 * MEBIBYTE}
"""Of a file, by the first part of its name; a marker, manifest or spec is JSON, and all else tables and tensors."""
LOOKED_AT_SECONDS = 1.0
"""So long a lock may be held by those who only look whether it is free."""

JSON_BYTES = 64 * MEBIBYTE
DATA_BYTES = 16 * 2**30


def most_bytes(relative: str) -> int:
    """How large a file of a study may be, so that no reader's memory is filled by what is no study's."""
    own = JSON_BYTES if relative.endswith(".json") else DATA_BYTES
    return MOST_BYTES.get(relative.partition("/")[0], own)


@dataclass(frozen=True)
class Entry:
    """A file in a listing. name: in its folder. modified: nanoseconds since the epoch. version: new with each write."""

    name: str
    bytes: int
    modified: int
    version: str


class Place(abc.ABC):
    """One study's place; files have names relative to it, such as `done/x.json`, and appear whole or not at all.

    uri: for people, and for `Store.at`. What is wrong with one file is Damaged, what is wrong with the storage OSError.
    """

    uri: str

    @abc.abstractmethod
    def read(self, relative: str, most: int | None = None) -> bytes:
        """A file's content; Damaged unless it is there, a file, and no larger than `most` and `most_bytes` allow."""

    @abc.abstractmethod
    def exists(self, relative: str) -> bool:
        """Whether a file, or a folder that holds something, is there."""

    @abc.abstractmethod
    def stat(self, relative: str) -> Entry | None:
        """A file as a listing has it; None where there is none."""

    @abc.abstractmethod
    def write(self, relative: str, data: bytes, sync: bool = True) -> None:
        """Create or replace. sync: also make the name outlast a power failure; False if a call of `sync` follows."""

    @abc.abstractmethod
    def create(self, relative: str, data: bytes, sync: bool = True) -> bool:
        """Create unless it exists; False when somebody else was first. sync: as of `write`."""

    @abc.abstractmethod
    def sync(self, folders: Iterable[str]) -> None:
        """Make the names of all files in these folders outlast a power failure; nothing if storage does so itself."""

    @abc.abstractmethod
    def remove(self, relative: str) -> None:
        """Remove a file, if it is there."""

    def erase(self, relative: str) -> None:
        """Remove a file so that its content is gone, as far as the storage lets that be done."""
        self.remove(relative)

    @abc.abstractmethod
    def remove_folder(self, folder: str) -> None:
        """Remove a folder with all that it holds, if it is there."""

    @abc.abstractmethod
    def prune(self, folder: str) -> None:
        """Remove a folder that holds nothing."""

    @abc.abstractmethod
    def names(self, folder: str, prefix: str = "") -> list[str]:
        """Sorted names in a folder, of those that start so; without hidden ones."""

    @abc.abstractmethod
    def files(self, folder: str, prefix: str = "") -> list[Entry]:
        """All regular files in a folder itself that start so, hidden ones too, by name."""

    @abc.abstractmethod
    def folders(self, folder: str) -> list[str]:
        """Sorted names of the folders in a folder."""

    @abc.abstractmethod
    def now(self) -> int:
        """Nanoseconds since the epoch, by the clock that `modified` goes by."""

    @abc.abstractmethod
    def reach(self) -> None:
        """ValueError unless the storage is there to be read."""

    @abc.abstractmethod
    def probe(self) -> None:
        """ValueError unless the storage takes a mebibyte."""

    @abc.abstractmethod
    def lock(self) -> AbstractContextManager[None]:
        """One driver a study; ValueError while another one has it."""

    def is_open_to_others(self) -> bool:
        """Whether modes let other users of this machine in; False for storage that has none."""
        return False

    def read_each(self, relatives: Sequence[str]) -> Iterator[bytes | None]:
        """Contents of many small files; None for one that is missing, or no file."""
        for relative in relatives:
            try:
                yield self.read(relative)
            except Damaged:
                yield None

    def settle(self, relative: str, data: bytes) -> None:
        """Create, or replace other bytes; a file that has these already is left alone."""
        try:
            same = self.exists(relative) and self.read(relative) == data
        except Damaged:
            same = False
        if not same:
            self.write(relative, data)


class Folder(Place):
    """A folder. Nothing is created before something is written, and no link is followed out of it.

    A link in the place of a file is replaced, or removed, itself.
    modes: of the folders and files that are made; those of one that was made before stay.
    """

    def __init__(self, folder: Path, modes: Modes = PRIVATE) -> None:
        self.folder = folder.absolute()
        self._modes = modes
        self.uri = str(self.folder)
        self._real = os.path.realpath(self.folder)

    def path(self, relative: str) -> Path:
        """A file or folder of the study; Damaged where a link leads out of it."""
        self._followed(relative)
        return self.folder / relative

    def _followed(self, relative: str) -> str:
        """What a name leads to by links, none of which is left; Damaged where that is outside."""
        real = os.path.realpath(self.folder / relative)
        if os.path.commonpath([real, self._real]) != self._real:
            path = self.folder / relative
            raise Damaged(f"{path}: leads out of the study, and is neither read nor written; remove the link")
        return real

    def _name(self, relative: str) -> Path:
        """Where a file is made or removed, whatever is there; Damaged where its folder is outside."""
        folder, _, name = relative.rpartition("/")
        return self.path(folder) / name

    def read(self, relative: str, most: int | None = None) -> bytes:
        """A file's content; Damaged unless it is there, regular, and no larger than it may be."""
        path, limit = self._followed(relative), most_bytes(relative)
        try:
            return read_regular(path, limit if most is None else min(most, limit), follow=False)
        except FileNotFoundError:
            raise Damaged(f"{self.folder / relative}: sealed, but missing") from None
        except OSError as error:
            raise Damaged(f"{self.folder / relative}: sealed, but cannot be read ({error.strerror})") from None

    def exists(self, relative: str) -> bool:
        """Whether a file or folder is there."""
        return self.path(relative).exists()

    def stat(self, relative: str) -> Entry | None:
        """A file as a listing has it; None where there is none."""
        path = self.path(relative)
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _entry(path.name, found) if stat.S_ISREG(found.st_mode) else None

    def write(self, relative: str, data: bytes, sync: bool = True) -> None:
        """Create or replace."""
        files.write(self._name(relative), data, self._modes, sync)

    def create(self, relative: str, data: bytes, sync: bool = True) -> bool:
        """Create unless it exists; False when somebody else was first."""
        return files.create(self._name(relative), data, self._modes, sync)

    def sync(self, folders: Iterable[str]) -> None:
        """Each folder once, however many files were written."""
        for folder in folders:
            files.sync_folder(self.path(folder))

    def remove(self, relative: str) -> None:
        """Remove a file, if it is there."""
        self._name(relative).unlink(missing_ok=True)

    def erase(self, relative: str) -> None:
        """Overwrite a regular file, if it is there, and remove it; storage that keeps old blocks keeps its content."""
        with contextlib.suppress(OSError), open_regular(self._name(relative), os.O_RDWR | os.O_NOFOLLOW) as file:
            found = os.fstat(file.fileno())
            if found.st_nlink == 1:  # else another name keeps it, which may be of a file that is none of ours
                file.write(bytes(found.st_size))
                file.flush()
                os.fsync(file.fileno())
        self.remove(relative)

    def remove_folder(self, folder: str) -> None:
        """Remove a folder with all that it holds, if it is there."""
        shutil.rmtree(self._name(folder), ignore_errors=True)

    def prune(self, folder: str) -> None:
        """Remove a folder that holds nothing."""
        with contextlib.suppress(OSError):
            self._name(folder).rmdir()

    def names(self, folder: str, prefix: str = "") -> list[str]:
        """Sorted names of all that is in a folder and starts so; without hidden ones."""
        found = (item.name for item in self._scan(folder))
        return sorted(name for name in found if name.startswith(prefix) and not name.startswith("."))

    def files(self, folder: str, prefix: str = "") -> list[Entry]:
        """All regular files in a folder itself that start so, hidden ones too, by name; links are none."""
        own = [item for item in self._scan(folder) if item.name.startswith(prefix)]
        return sorted(filter(None, map(_file, own)), key=lambda entry: entry.name)

    def folders(self, folder: str) -> list[str]:
        """Sorted names of the folders in a folder; links are none."""
        return sorted(item.name for item in self._scan(folder) if item.is_dir(follow_symlinks=False))

    def _scan(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.path(folder)) as found:
                return list(found)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def now(self) -> int:
        """Nanoseconds since the epoch."""
        return time.time_ns()

    def reach(self) -> None:
        """Nothing: a folder that is absent is made by the first write."""

    def probe(self) -> None:
        """ValueError unless the folder takes a mebibyte, replaces a file, and creates one once and no second time."""
        name, once = (f".probe-{secrets.token_hex(4)}" for _ in range(2))
        try:
            self.write(name, bytes(2**20))
            self.write(name, b"again")
            created = self.create(once, b"one"), self.create(once, b"two")
            sound = created == (True, False) and self.read(name) == b"again" and self.read(once) == b"one"
        except OSError as error:
            raise Refused(f"results: cannot write to {self.folder}: {error.strerror}") from None
        finally:
            with contextlib.suppress(OSError):
                self.remove(name)
                self.remove(once)
        if not sound:
            raise Refused(
                f"results: {self.folder}: its file system gives back other files than were written, so a result could "
                "be sealed twice; name a folder on another one"
            )

    def is_open_to_others(self) -> bool:
        """Whether the folder's mode lets in its group, or all users of this machine."""
        return self.folder.is_dir() and bool(self.folder.stat().st_mode & 0o077)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """One driver a study; ValueError while another one on this machine has it. Freed when the process ends."""
        private_files.make_folder(self.folder, self._modes.folder)
        try:
            file = open_lock(self.path(".lock"))
        except OSError as error:
            raise Refused(f"results: cannot lock {self.folder}: .lock {error.strerror}") from None
        with file:
            try:
                locked = _locked(file)
            except OSError as error:
                raise Refused(
                    f"results: {self.folder}: its file system has no locks ({error.strerror}), so two sweeps could "
                    "work on it at once; mount it with locks (Lustre: -o flock; NFS: with its lock daemon), or name a "
                    "folder on another one"
                ) from None
            if not locked:
                raise Refused(
                    f"results: another sweep or mia-study track is working on {self.folder}; wait for it or stop it"
                )
            yield


def _locked(file: BinaryIO) -> bool:
    """Whether the lock is this process's now. `mia-study status` holds it for an instant to see whether it is free."""
    until = time.monotonic() + LOOKED_AT_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        else:
            return True


def _file(item: os.DirEntry[str]) -> Entry | None:
    """None for what is no regular file, or is gone since it was listed, as temporary files are."""
    try:
        found = item.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    return _entry(item.name, found) if stat.S_ISREG(found.st_mode) else None


def _entry(name: str, found: os.stat_result) -> Entry:
    return Entry(name, found.st_size, found.st_mtime_ns, f"{found.st_size}-{found.st_mtime_ns}")
