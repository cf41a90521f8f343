"""Facts of image files that do not need their pixels: size, format, dimensions, JPEG tables, EXIF. Never times.

Members that come from another export than non-members differ in these, and then no attack's result can be believed.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from mia_core import hardware
from mia_core.data.decoding import FORMATS

MODES = ("1", "L", "P", "RGB", "RGBA", "I;16", "CMYK")
FACTS = (
    *("bytes", "width", "height", "bytes_per_pixel", "exif", "icc", "comment", "progressive"),
    *("jpeg_tables", "jpeg_table_0", "jpeg_table_1"),
    *(f"format_{name}" for name in FORMATS),
    *(f"mode_{name}" for name in MODES),
)
"""Columns of `file_facts`: bytes, width, height and bytes per pixel as logarithms; JPEG tables by number and mean."""
LOSSY = frozenset({"JPEG", "MPO"})
"""Formats that lose some of an image. WEBP may, and cannot be told without decoding."""


def file_facts(paths: Sequence[Path]) -> np.ndarray:
    """float64 [N, len(FACTS)]; a file that cannot be opened has its size alone."""
    with ThreadPoolExecutor(hardware.cpus()) as pool:
        rows = list(pool.map(_facts, paths))
    return np.array(rows, dtype=np.float64).reshape(len(paths), len(FACTS))


def is_lossy(facts: np.ndarray) -> np.ndarray:
    """bool [N]: whether files are of a format that loses some of an image."""
    columns = [FACTS.index(f"format_{name}") for name in FORMATS if name in LOSSY]
    return np.asarray(facts[:, columns].any(1))


def _facts(path: Path) -> list[float]:
    found = dict.fromkeys(FACTS, 0.0)
    try:
        size = path.stat().st_size
        found["bytes"] = float(np.log1p(size))
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            found |= {"width": float(np.log1p(width)), "height": float(np.log1p(height))}
            found["bytes_per_pixel"] = float(np.log((size + 1) / max(1, width * height)))
            for name in ("exif", "comment", "progressive"):
                found[name] = float(name in image.info)
            found["icc"] = float("icc_profile" in image.info)
            tables = getattr(image, "quantization", None) or {}
            found["jpeg_tables"] = float(len(tables))
            for number in (0, 1):
                if number in tables:
                    found[f"jpeg_table_{number}"] = float(np.mean(tables[number]))
            kind = "JPEG" if image.format == "MPO" else image.format
            for column in (f"format_{kind}", f"mode_{image.mode}"):
                if column in found:
                    found[column] = 1.0
    except Exception:  # damaged files make decoders raise anything; decoding says which
        pass
    return [found[name] for name in FACTS]


def standardized(facts: np.ndarray) -> np.ndarray:
    """float64 [N, F]: columns that vary, with mean 0 and standard deviation 1; one column of zeros if none does."""
    spread = facts.std(0)
    varies = spread > 1e-12
    if not varies.any():
        return np.zeros((len(facts), 1))
    return np.asarray((facts[:, varies] - facts[:, varies].mean(0)) / spread[varies])
