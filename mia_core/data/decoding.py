"""Image files to records: upright, the central square, resized; what cannot be used gives its reason."""

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import PIL
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile

from mia_core import hardware
from mia_core.data.disguises import disguise, head_of
from mia_core.errors import Refused

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm",
))  # fmt: skip
"""Of files of these formats."""
MODES = ("1", "L", "P", "RGB")
ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
DEEP_GRAY = ("I;16", "I;16L", "I;16B", "I", "F")
"""Modes of one channel with more than 8 bits."""
MEGAPIXELS = 80
"""Larger images are refused before they are decoded: a file of a few kilobytes can claim gigabytes of pixels."""
warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # of half of what is refused here
warnings.filterwarnings("ignore", "Corrupt EXIF data", UserWarning)  # which costs the orientation
WHITE_IS_ZERO = 0
PHOTOMETRIC = 262
"""The tag of TIFF that may say so; Pillow heeds it up to 8 bits."""
BATCH = 256

Transparency = Literal["refuse", "black", "white"]
Pages = Literal["refuse", "first", "all"]


@dataclass(frozen=True)
class Reading:
    """How images are read; see `ImageSettings`."""

    size: int
    channels: int
    window: tuple[float, float] | None = None
    transparency: Transparency = "refuse"
    pages: Pages = "refuse"


@dataclass(frozen=True)
class Decoded:
    """pixels: uint8 [channels, size, size]. width, height: of the image in its file. oriented: whether its EXIF could
    be read. windowed: whether it had more than 8 bits. below, above: its pixels with values beyond the window's ends.
    """

    pixels: np.ndarray
    width: int
    height: int
    oriented: bool = True
    windowed: bool = False
    below: int = 0
    above: int = 0


Place = tuple[Path, int]
"""A file, and the page of it from 0."""


def decode_all(places: Sequence[Place], reading: Reading) -> Iterator[Decoded | str]:
    """For each place its image, or what is odd about it; all cores, a batch at a time."""

    def one(place: Place) -> Decoded | str:
        try:
            return decode(*place, reading)
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(hardware.cpus()) as pool:
        for start in range(0, len(places), BATCH):
            yield from pool.map(one, places[start : start + BATCH])


def decode(path: Path, page: int, reading: Reading) -> Decoded:
    """One page: upright by its EXIF tag, the central square, resized (bilinear, antialiased).

    ValueError when it cannot be read, or would lose what no setting says how to: transparency, pages, more than 8 bits,
    CMYK. EXIF that cannot be read costs the orientation only.
    """
    try:
        if path.exists() and not path.is_file():
            raise Refused("no regular file")
        with Image.open(path, formats=FORMATS) as image:
            if page:
                image.seek(page)
            if reason := _odd(image, reading):
                raise Refused(reason)
            width, height = image.size
            windowed = image.mode in DEEP_GRAY
            plain, below, above = _eight_bits_of(image, reading)
            upright, oriented = _upright(plain.convert("L" if reading.channels == 1 else "RGB"))
    except ValueError:
        raise
    except PIL.UnidentifiedImageError:
        raise Refused(_unidentified(path)) from None
    except Exception as error:  # damaged files make decoders raise anything
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0] or repr(error)
        raise Refused(f"cannot be decoded: {reason}") from None
    return Decoded(squared(upright, reading), width, height, oriented, windowed, below, above)


def decode_opened(image: ImageFile, reading: Reading) -> np.ndarray:
    """uint8 [channels, size, size] of an image that is open, by the same rule. ValueError as of `decode`."""
    if reason := _odd(image, reading):
        raise Refused(reason)
    plain, _, _ = _eight_bits_of(image, reading)
    return squared(_upright(plain.convert("L" if reading.channels == 1 else "RGB"))[0], reading)


def _eight_bits_of(image: ImageFile, reading: Reading) -> tuple[Image.Image, int, int]:
    """With 8 bits; and how many of its pixels lay below and above the window."""
    return _windowed(image, reading) if image.mode in DEEP_GRAY else (_eight_bits(image, reading), 0, 0)


def squared(upright: Image.Image, reading: Reading) -> np.ndarray:
    """uint8 [channels, size, size]: the central square, resized, of an image with 8 bits and so many channels."""
    size, side = reading.size, min(upright.size)
    left, top = ((length - side) / 2 for length in upright.size)
    square = upright.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    return np.asarray(square).reshape(size, size, reading.channels).transpose(2, 0, 1)


def count_pages(path: Path) -> int:
    """How many pages, or frames, a file has; 1 where that cannot be read, which decoding finds."""
    try:
        if not path.is_file():
            return 1
        with Image.open(path, formats=FORMATS) as image:
            return _pages(image)
    except Exception:  # damaged files make decoders raise anything
        return 1


def _pages(image: ImageFile) -> int:
    return 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # a camera's, with previews


def _odd(image: ImageFile, reading: Reading) -> str | None:
    width, height = image.size
    if width * height > MEGAPIXELS * 10**6:
        return f"{width} x {height} pixels, more than {MEGAPIXELS} million"
    if width * height == 0:
        return "has no pixels"
    if image.mode not in (*MODES, *ALPHA, *DEEP_GRAY):
        return f"has mode {image.mode}, not gray or RGB; convert it to RGB"
    if image.mode in DEEP_GRAY:
        if "transparency" in image.info:
            return "has transparency and more than 8 bits; convert it to 8 bits"
    elif _deep(image):
        return "has more than 8 bits a channel in color, which are not read; convert it to 8 bits"
    pages = _pages(image)
    if pages > 1 and reading.pages == "refuse":
        return f"has {pages} frames, or pages; data.pages=first reads the first, and data.pages=all every one"
    return None


def _deep(image: ImageFile) -> bool:
    """Whether the file has more bits than the mode, from which Pillow would take the upper 8 without a word."""
    arguments = [part for tile in image.tile for part in (tile[3] if isinstance(tile[3], tuple) else (tile[3],))]
    modes = any(isinstance(part, str) and ";16" in part for part in arguments)
    return modes or (image.format == "PPM" and any(isinstance(part, int) and part > 255 for part in arguments))


def _eight_bits(image: ImageFile, reading: Reading) -> Image.Image:
    if image.mode not in ALPHA and "transparency" not in image.info:
        image.draft(image.mode, (2 * reading.size, 2 * reading.size))  # JPEG: at a half, a quarter, an eighth
        return image
    whole = image.convert("RGBA")
    clear = np.asarray(whole.getchannel("A")) < 255
    if not clear.any():
        return whole.convert("RGB")
    if reading.transparency == "refuse":
        share = f"{100 * clear.mean():.3g} %"
        raise Refused(f"has transparency ({share} of its pixels); data.transparency=black or white puts it on that")
    ground = Image.new("RGBA", whole.size, reading.transparency)
    found = Image.alpha_composite(ground, whole).convert("RGB")
    found.info = dict(whole.info)
    return found


def _windowed(image: ImageFile, reading: Reading) -> tuple[Image.Image, int, int]:
    """8 bits of more: the window's lower end is black, its upper end white, and what is beyond as the nearer end.

    And the numbers of pixels below the lower end and above the upper one.
    """
    maximum = _maximum(image)
    values = np.asarray(image).astype(np.float64)
    if maximum:
        values = np.rint(values * maximum / 65535)  # Pillow spread them over 16 bits
    if not np.isfinite(values).all():
        raise Refused("has pixels that are no numbers")
    if reading.window is None:
        raise Refused(
            f"has more than 8 bits (values {values.min():g} to {values.max():g}); data.window=[black,white] says "
            "which values are black and white"
        )
    low, high = reading.window
    gray = np.rint((values - low).clip(0, high - low) * (255 / (high - low))).astype(np.uint8)
    tags = getattr(image, "tag_v2", {})
    inverted = image.format == "TIFF" and tags.get(PHOTOMETRIC) == WHITE_IS_ZERO
    found = Image.fromarray(255 - gray if inverted else gray)
    found.info = dict(image.info)
    return found, int((values < low).sum()), int((values > high).sum())


def _maximum(image: ImageFile) -> int | None:
    """The white of a PGM file whose values Pillow spreads over 16 bits."""
    if image.format != "PPM" or not image.tile:
        return None
    arguments = image.tile[0][3]
    return arguments[1] if isinstance(arguments, tuple) and isinstance(arguments[1], int) else None


def _upright(image: Image.Image) -> tuple[Image.Image, bool]:
    """Turned as its EXIF says, and whether that could be read."""
    try:
        return ImageOps.exif_transpose(image), True
    except Exception:  # of whatever wrote it
        return image, False


def _unidentified(path: Path) -> str:
    if path.stat().st_size == 0:
        return "empty file"
    return disguise(head_of(path)) or "no image of a known format"
