"""Fashion-MNIST (Xiao et al. 2017): 70,000 records of 28 x 28 pixels, from Debian's files or torchvision's."""

import gzip
import io
import zlib
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge

from mia_core.data.pool import SOURCES, Pool, Size, Source, resize
from mia_core.errors import Refused
from mia_core.opening import MEBIBYTE, read_regular
from mia_core.paths import expanded
from mia_core.settings import settings

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
MOST_BYTES = 256 * MEBIBYTE
"""Maximal size of a file, also unpacked; the largest published file has 45 MiB."""


@SOURCES.register
class FashionMnist(Source):
    """All 70,000 records: 60,000 of 'train', then 10,000 of 'test'. Splits ignore the published halves."""

    name = "fashion_mnist"

    @settings
    class Config:
        """root: folder of the four IDX files, plain or gzipped; by default Debian's, else torchvision's under `data/`.

        download: let torchvision download into root. records: use the first so many, null for all. size: pixels.
        """

        root: str | None = None
        download: bool = False
        records: Annotated[int, Ge(1)] | None = None
        size: Size = 28

    config: Config

    def load(self) -> Pool:
        """[N, 1, size, size] uint8."""
        folder = self._folder()
        halves = [
            (_read_idx(folder, f"{half}-images-idx3-ubyte"), _read_idx(folder, f"{half}-labels-idx1-ubyte"))
            for half in ("train", "t10k")
        ]
        for images, labels in halves:
            if images.ndim != 3 or labels.shape != images.shape[:1]:
                raise Refused(f"data: {folder}: images {images.shape} and labels {labels.shape} are not of one half")
        images, labels = (np.concatenate(parts)[: self.config.records] for parts in zip(*halves, strict=True))
        return Pool(
            self.name, resize(images[:, None], self.config.size), labels.astype(np.int64), np.arange(len(labels))
        )

    def _folder(self) -> Path:
        root = expanded(self.config.root) if self.config.root else None
        if self.config.download:
            from mia_core.vision import torchvision

            root = root or Path("data")
            try:
                for train in (True, False):
                    torchvision.datasets.FashionMNIST(str(root), train=train, download=True)
            except (OSError, RuntimeError, EOFError, zlib.error) as error:
                raise Refused(f"data.download: Fashion-MNIST: {error}") from None
        candidates = [root, root / "FashionMNIST" / "raw"] if root else [DEBIAN, Path("data/FashionMNIST/raw")]
        for folder in candidates:
            if _find(folder, "train-images-idx3-ubyte"):
                return folder
        raise Refused(
            f"data: Fashion-MNIST is not in {' or '.join(map(str, candidates))}; get it by "
            "`sudo apt-get install dataset-fashion-mnist`, or with data.download=true"
        )


def _find(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _read_idx(folder: Path, name: str) -> np.ndarray:
    """uint8 array of an IDX file (LeCun's format: 0, 0, type 8, number of dimensions, big-endian sizes, the bytes)."""
    path = _find(folder, name)
    if path is None:
        raise Refused(f"data: {folder / name} (or .gz) is missing")
    try:
        data = read_regular(path, MOST_BYTES)
        if path.suffix == ".gz":
            data = gzip.GzipFile(fileobj=io.BytesIO(data)).read(MOST_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise Refused(f"data: {path} cannot be read: {error}") from None
    dimensions = data[3] if data[:3] == b"\0\0\x08" and len(data) > 3 else 0
    header = 4 + 4 * dimensions
    shape = np.frombuffer(data[4:header], ">u4").astype(int) if len(data) >= header > 4 else np.zeros(0, int)
    if not len(shape) or len(data) != header + shape.prod():
        raise Refused(f"data: {path} is not a whole IDX file of unsigned bytes; get it again")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
