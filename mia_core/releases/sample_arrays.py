"""Samples in one file: NumPy arrays, or encoded images in a column of a Parquet file. No pickles, ever."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from mia_core import hardware
from mia_core.data.decoding import FORMATS, Reading, decode_opened, squared
from mia_core.errors import Refused
from mia_core.opening import MEBIBYTE, open_regular, read_regular

ARRAYS = (".npy", ".npz")
PARQUET = (".parquet", ".pq")
MOST_BYTES = 64 * 1024 * MEBIBYTE
Range = Literal["auto", "-1,1", "0,1", "0,255"]
BOUNDS = {"-1,1": (-1.0, 1.0), "0,1": (0.0, 1.0), "0,255": (0.0, 255.0)}
TOLERANCE = 1e-3
"""Part of a range by which floats may lie outside: rounding of whoever wrote them."""
CHANNELS = (1, 3)


def read_array(path: Path, key: str | None) -> np.ndarray:
    """The array of an .npy file, or the one (or the one named `key`) of an .npz file.

    Refused for what needs pickle, for objects, and for what is larger than this machine's memory.
    """
    try:
        with open_regular(path, 0) as file:
            if path.suffix.lower() == ".npy":
                return _read_npy(file, path)
            with zipfile.ZipFile(file) as archive:
                names = [name for name in archive.namelist() if name.endswith(".npy")]
                chosen = _choose(names, key, path)
                with archive.open(chosen) as member:
                    return _read_npy(member, path)
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        if isinstance(error, Refused):
            raise
        raise Refused(f"release: {path.name} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _choose(names: list[str], key: str | None, path: Path) -> str:
    if key is not None:
        if f"{key}.npy" not in names:
            raise Refused(f"release: {path.name} has no array {key!r}; it has {', '.join(n[:-4] for n in names[:5])}")
        return f"{key}.npy"
    if len(names) != 1:
        found = ", ".join(name[:-4] for name in names[:5]) or "none"
        raise Refused(f"release: {path.name} has {len(names)} arrays ({found}); name one by release.key")
    return names[0]


def _read_npy(file: Any, path: Path) -> np.ndarray:
    version = np.lib.format.read_magic(file)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if header is None:
        raise Refused(f"release: {path.name} is an .npy file of version {version}, which is not read; save it again")
    shape, fortran, dtype = header(file)
    if dtype.hasobject or dtype.kind not in "uif":
        raise Refused(f"release: {path.name} has {dtype}, and images are uint8 or float; no pickles are read")
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if size > min(MOST_BYTES, hardware.memory_bytes() // 3):
        raise Refused(f"release: {path.name} takes {size / 1e9:.1f} GB of memory, more than a third of what is here")
    data = file.read(size)
    if len(data) < size:
        raise Refused(f"release: {path.name} is cut off: {len(data)} bytes of {size}")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def as_pixels(images: np.ndarray, declared: Range, where: str) -> tuple[np.ndarray, str]:
    """uint8 [N,C,H,W] with 1 or 3 channels, and a note on how values became gray levels.

    images: uint8, or float in a declared range (`auto`: [-1, 1] if any is negative, else [0, 1]), of [N,H,W], [N,H,W,C]
    or [N,C,H,W]. Refused for other shapes, and for values that are no numbers, or outside of the range.
    """
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[1] not in CHANNELS and images.shape[3] in CHANNELS:
        images = images.transpose(0, 3, 1, 2)
    if images.ndim != 4 or images.shape[1] not in CHANNELS or not min(images.shape):
        raise Refused(
            f"release: {where} has the shape {list(images.shape)}; images are [N,H,W], [N,H,W,C] or [N,C,H,W], and C "
            "is 1 or 3"
        )
    lowest, highest = float(images.min()), float(images.max())
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise Refused(f"release: {where} has values that are no numbers")
    if images.dtype.kind != "f" and highest > 255:
        raise Refused(
            f"release: {where} has {images.dtype} with values to {highest:g}; bring them to 8 bits as the records are "
            "(data.window, if they have more), or to floats in [0, 1]"
        )
    if (images.dtype == np.uint8 or declared == "0,255") and lowest >= 0 and highest <= 1:
        raise Refused(
            f"release: {where} has values from {lowest:g} to {highest:g}, which of 0 to 255 are black; make 0 black "
            "and 255 white, or give floats in [0, 1] and no other release.range"
        )
    if images.dtype == np.uint8:
        return np.ascontiguousarray(images), "8-bit values as they are"
    if images.dtype.kind != "f" and declared != "0,255":
        raise Refused(f"release: {where} has {images.dtype}; images are uint8 or float, or declare release.range=0,255")
    word = ("-1,1" if lowest < 0 else "0,1") if declared == "auto" else declared
    low, high = BOUNDS[word]
    slack = TOLERANCE * (high - low)
    if lowest < low - slack or highest > high + slack:
        raise Refused(
            f"release: {where} has values from {lowest:g} to {highest:g}, outside of [{low:g}, {high:g}]; "
            "release.range is one of -1,1 and 0,1 and 0,255"
        )
    pixels = np.rint((images.astype(np.float64).clip(low, high) - low) * (255 / (high - low))).astype(np.uint8)
    return np.ascontiguousarray(pixels), f"floats in [{low:g}, {high:g}], rounded to 8 bits"


def formed(images: np.ndarray, reading: Reading) -> np.ndarray:
    """uint8 [N,C,H,W] as files of these pixels would be read: the central square, resized, of so many channels."""
    size, channels = reading.size, reading.channels
    if images.shape[1:] == (channels, size, size):
        return images
    parts = []
    for image in images:
        pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        opened = Image.fromarray(np.ascontiguousarray(pixels))
        parts.append(squared(opened.convert("L" if channels == 1 else "RGB"), reading))
    return np.stack(parts)


def read_parquet(path: Path, column: str | None, reading: Reading) -> np.ndarray:
    """uint8 [N,C,H,W] of a column of encoded images (binary, or Hugging Face's structure of bytes and path).

    Refused for an image that cannot be decoded.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise Refused("release: Parquet needs pyarrow; install mia-study[study]") from None
    try:
        file = pq.ParquetFile(io.BytesIO(read_regular(path, hardware.memory_bytes() // 3)))
        chosen = column or _binary_column(file.schema_arrow, path)
        if chosen not in file.schema_arrow.names:
            raise Refused(f"release: {path.name} has no column {chosen!r}; it has {', '.join(file.schema_arrow.names)}")
        parts = [_decoded(data, reading, f"{path.name}, row {row}") for row, data in enumerate(_cells(file, chosen))]
    except (OSError, pa.ArrowException) as error:
        raise Refused(f"release: {path.name} cannot be read: {str(error).splitlines()[0]}") from None
    if not parts:
        raise Refused(f"release: {path.name} has no rows")
    return np.stack(parts)


def _binary_column(schema: Any, path: Path) -> str:
    import pyarrow as pa

    def holds_bytes(kind: Any) -> bool:
        if pa.types.is_struct(kind):
            return any(field.name == "bytes" and holds_bytes(field.type) for field in kind)
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    names = [field.name for field in schema if holds_bytes(field.type)]
    if len(names) != 1:
        raise Refused(f"release: {path.name} has {len(names)} columns of bytes; name one by release.key")
    return str(names[0])


def _cells(file: Any, column: str) -> Iterator[Any]:
    for batch in file.iter_batches(columns=[column], batch_size=256):
        for value in batch.column(0):
            cell = value.as_py()
            yield cell.get("bytes") if isinstance(cell, dict) else cell


def _decoded(data: Any, reading: Reading, where: str) -> np.ndarray:
    if not isinstance(data, bytes):
        raise Refused(f"release: {where} has no image")
    try:
        with io.BytesIO(data) as source, Image.open(source, formats=FORMATS) as image:
            return decode_opened(image, reading)
    except Exception as error:  # damaged files make decoders raise anything
        raise Refused(f"release: {where} {error}") from None
