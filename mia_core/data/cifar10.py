"""CIFAR-10 (Krizhevsky 2009): 60,000 records of 3 x 32 x 32 in 10 classes, from the python or the binary version.

The python version consists of pickles. Nothing in them is executed: they may refer to numpy's array and dtype only, and
these are replaced by inert stand-ins that hold bytes and shape.
"""

import io
import pickle
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Gt, Le

from mia_core.data.pool import SOURCES, Pool, Size, Source, draw, resize
from mia_core.errors import Refused
from mia_core.opening import MEBIBYTE, read_regular
from mia_core.paths import expanded
from mia_core.settings import settings

BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
PYTHON, BINARY = "cifar-10-batches-py", "cifar-10-batches-bin"
PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
PIXELS = 3 * 32 * 32
BATCH_BYTES = 64 * MEBIBYTE
"""Twice the size of a published batch."""


@SOURCES.register
class Cifar10(Source):
    """Both published halves, training batches first. Photographers are unknown, so every record is its own group."""

    name = "cifar10"

    @settings
    class Config:
        """root: the folder of the batches, or its parent. download: download the python version into root.

        fraction: random share of the records (LOGAN: 0.1), drawn by `seed`. size: pixels after resizing.
        """

        root: str = "data"
        download: bool = False
        fraction: Annotated[float, Gt(0), Le(1)] = 1.0
        seed: int = 0
        size: Size = 32

    config: Config

    def load(self) -> Pool:
        """[N, 3, size, size] uint8."""
        folder, suffix = self._folder()
        read = _read_binary if suffix else _read_pickle
        batches = [read(folder / f"{name}{suffix}") for name in BATCHES]
        images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
        chosen = draw(len(labels), self.config.fraction, self.config.seed) if self.config.fraction < 1 else slice(None)
        images = resize(images[chosen].reshape(-1, 3, 32, 32), self.config.size)
        labels = labels[chosen].astype(np.int64)
        return Pool(self.name, images, labels, np.arange(len(labels)))

    def _folder(self) -> tuple[Path, str]:
        root = expanded(self.config.root)
        if (found := _find(root)) is None and self.config.download:
            from mia_core.data.download import fetch_archive
            from mia_core.vision import torchvision

            cifar10 = torchvision.datasets.CIFAR10
            fetch_archive(cifar10.url, root, f"md5:{cifar10.tgz_md5}")
            found = _find(root)
        if found is None:
            raise Refused(
                f"data: CIFAR-10 is not in {root} (batches, or {PYTHON}/, {BINARY}/); get it with data.download=true, "
                f"or from {PAGE} and name its folder by data.root"
            )
        return found


def _find(root: Path) -> tuple[Path, str] | None:
    """The folder of the batches and the suffix of their names, or None."""
    places = [(root / name, suffix) for suffix, name in (("", PYTHON), (".bin", BINARY))]
    places += [(root, suffix) for suffix in ("", ".bin")]
    for folder, suffix in places:
        if any((folder / f"{name}{suffix}").is_file() for name in BATCHES):
            return folder, suffix
    return None


def _bytes(path: Path) -> bytes:
    try:
        return read_regular(path, BATCH_BYTES)
    except OSError as error:
        raise Refused(f"data: {path} cannot be read: {error.strerror}; get CIFAR-10 again from {PAGE}") from None


def _read_binary(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 3072] and labels uint8 [N]; the file has a label byte before each record."""
    data = _bytes(path)
    if not data or len(data) % (1 + PIXELS):
        raise Refused(f"data: {path} has {len(data)} bytes, no multiple of {1 + PIXELS}; get it again from {PAGE}")
    records = np.frombuffer(data, np.uint8).reshape(-1, 1 + PIXELS)
    return records[:, 1:], _labels(records[:, 0], path)


def _labels(labels: np.ndarray, path: Path) -> np.ndarray:
    if labels.max(initial=0) > 9:
        raise Refused(f"data: {path} has label {labels.max()}, and CIFAR-10 has 0 to 9")
    return labels


def _read_pickle(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 3072] and labels uint8 [N], from a dictionary with `data` and `labels`."""
    data = _bytes(path)
    try:
        batch = _Unpickler(io.BytesIO(data), encoding="bytes").load()
        images, labels = batch[b"data"].uint8(), batch[b"labels"]
        if any(type(label) is not int for label in labels) or images.shape != (len(labels), PIXELS):
            raise Refused(f"images {list(images.shape)} and {len(labels)} labels do not fit")
        numbers = np.array(labels, dtype=np.uint8)
    except Exception as error:  # damaged pickles raise various exceptions
        raise Refused(f"data: {path} is no batch of CIFAR-10: {error}; get it again from {PAGE}") from None
    return images, _labels(numbers, path)


class _Array:
    """Replaces a numpy array during unpickling."""

    def __init__(self, *arguments: Any) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def uint8(self) -> np.ndarray:
        """The array, if it is uint8 in C order; Refused otherwise."""
        _, shape, dtype, fortran, data = self.state
        if not isinstance(dtype, _Dtype) or dtype.code not in (b"u1", "u1") or fortran:
            raise Refused("its array is not of unsigned bytes")
        return np.frombuffer(data, np.uint8).reshape(shape)


class _Dtype:
    """Replaces a numpy dtype during unpickling."""

    def __init__(self, code: Any, *arguments: Any) -> None:
        self.code = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        pass


class _Unpickler(pickle.Unpickler):
    """Replaces the three names that a batch needs by stand-ins, and refuses all others."""

    def find_class(self, module: str, name: str) -> Any:
        if module not in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray") or name not in STAND_INS:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is refused")
        return STAND_INS[name]


STAND_INS = {"_reconstruct": _Array, "ndarray": _Array, "dtype": _Dtype}
