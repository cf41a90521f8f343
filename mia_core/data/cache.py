"""Decoded pools on disk: one folder each with `images.npy` (memory-mapped), `records.npy` and `manifest.json`.

A folder is written under a temporary name, synced, and renamed, so it is complete or absent. Its digest is checked on
every read, and a damaged folder counts as absent. It contains the records, so only its owner may read it.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from mia_core import private_files
from mia_core.data.pool import LEFT_OUT, FromFiles, Pool
from mia_core.errors import Refused
from mia_core.hashing import content_id
from mia_core.opening import MEBIBYTE, read_regular
from mia_core.paths import expanded

IMAGES, RECORDS, MANIFEST = "images.npy", "records.npy", "manifest.json"
MANIFEST_BYTES = 256 * MEBIBYTE
"""Enough for millions of file names."""
READS = 3
"""Version of what can be decoded: raised if more can be, so that pools which left files out are decoded again.

From 3 on it is known what a window clipped.
"""


def cache_folder(setting: str | None) -> Path:
    """The folder of pools: the setting, `$MIA_STUDY_CACHE`, `$XDG_CACHE_HOME/mia-study`, or `~/.cache/mia-study`."""
    if setting:
        return expanded(setting)
    if own := os.environ.get("MIA_STUDY_CACHE"):
        return expanded(own, "all")
    try:
        return expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "all") / "mia-study"
    except Refused as error:
        raise Refused(f"data.cache: {error}; or set data.cache") from None


def require_room(folder: Path, needed: int) -> None:
    """Refused if the file system of a folder, which need not exist yet, has less than `needed` bytes free."""
    free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
    if needed > free:
        raise Refused(
            f"data.cache: decoded records take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free at {folder}; "
            "free some, name another folder, or lower data.size or data.fraction"
        )


def load(folder: Path, notes: Sequence[str] = (), left_out: Sequence[str] = ()) -> tuple[Pool, list[str]] | None:
    """A pool with memory-mapped images, and the records left out when it was decoded.

    None if it is absent or damaged, if an earlier version left out records that may be decoded today, or if it did not
    count what a window clipped. notes: put before the pool's notes about records that were left out. left_out: files
    left out before decoding.
    """
    try:
        manifest = json.loads(read_regular(folder / MANIFEST, MANIFEST_BYTES))
        if manifest.pop("check") != content_id(manifest):
            return None
        if not ((folder / IMAGES).is_file() and (folder / RECORDS).is_file()):
            return None
        # A plain array over the mapping: numpy.memmap itself would be copied whenever it is pickled.
        images = np.asarray(np.load(folder / IMAGES, mmap_mode="r"))
        labels, groups = np.load(folder / RECORDS)
        odd: list[str] = manifest["odd"]
        seen = FromFiles(**manifest["from_files"]) if "from_files" in manifest else None
        if (odd or (seen and seen.windowed)) and manifest.get("reads", 1) < READS:
            return None
        out = (*left_out, *odd)
        all_notes = (*notes, *(f"{LEFT_OUT}{line}" for line in out))
        files = tuple(manifest["files"])
        pool = Pool(manifest["name"], images, labels, groups, all_notes, files, seen, len(out))
        return (pool, odd) if pool.digest == manifest["digest"] else None
    except Exception:  # numpy raises various exceptions for damaged files
        return None


class Writer:
    """Writes a pool record by record, in constant memory. Nothing remains on disk unless `seal` is called."""

    def __init__(self, folder: Path, image_shape: tuple[int, int, int]) -> None:
        self.folder = folder
        self.image_shape = image_shape
        self.count = 0

    def __enter__(self) -> "Writer":
        try:
            private_files.make_folder(self.folder.parent)
            self._scratch = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}-", dir=self.folder.parent))
        except OSError as error:
            raise self._refused(error) from None
        self._images = private_files.open_file(self._scratch / IMAGES, "xb")
        self._header()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._images.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def append(self, image: np.ndarray) -> None:
        """Write the next record, uint8 [C,H,W]."""
        assert image.shape == self.image_shape and image.dtype == np.uint8
        try:
            self._images.write(image.tobytes())
        except OSError as error:
            raise self._refused(error) from None
        self.count += 1

    def seal(
        self,
        name: str,
        labels: np.ndarray,
        groups: np.ndarray,
        files: Sequence[str],
        odd: Sequence[str],
        seen: FromFiles,
    ) -> None:
        """Write labels and groups, int64 [N], the records' files, why others were left out, and counts of what decoding
        did; rename the folder.
        """
        try:
            self._images.seek(0)
            self._header()  # as long as the first header: numpy reserves space for the number of records
            self._images.close()
            with private_files.open_file(self._scratch / RECORDS, "xb") as file:
                np.save(file, np.stack([labels, groups]).astype(np.int64))
            images = np.asarray(np.load(self._scratch / IMAGES, mmap_mode="r"))
            digest = Pool(name, images, labels, groups).digest
            manifest: dict[str, Any] = {"name": name, "digest": digest, "files": list(files), "odd": list(odd)}
            manifest |= {"reads": READS, "from_files": asdict(seen)}
            text = json.dumps({**manifest, "check": content_id(manifest)}, indent=1)
            with private_files.open_file(self._scratch / MANIFEST, "x") as file:
                file.write(text)
            for path in self._scratch.iterdir():
                _sync(path)
            if self.folder.exists():  # it is damaged, otherwise it would have been loaded
                shutil.rmtree(self.folder)
            self._scratch.rename(self.folder)
            _sync(self.folder.parent)
        except OSError as error:
            raise self._refused(error) from None

    def _header(self) -> None:
        header = {"descr": "|u1", "fortran_order": False, "shape": (self.count, *self.image_shape)}
        np.lib.format.write_array_header_1_0(self._images, header)

    def _refused(self, error: OSError) -> Refused:
        where = self.folder.parent
        return Refused(f"data.cache: {where} cannot be written: {error.strerror or error}; name another folder")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
