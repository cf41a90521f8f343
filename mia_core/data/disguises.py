"""What files are that lie among images and are none that can be read: by their first bytes, and by their names."""

import os
from pathlib import Path

from mia_core.opening import open_regular

HEAD_BYTES = 512

DICOM = "is DICOM, which is not read here; export it as PNG or TIFF (16 bits are read with data.window)"
NOT_READ = "which is not read here; convert it to PNG"
FTYPES = {b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"mif1": "HEIF", b"avif": "AVIF", b"avis": "AVIF"}
STARTS = {
    b"version https://git-lfs.github.com": "is a Git-LFS pointer, and not the file itself; fetch it with git lfs pull",
    b"<!doctype html": "is a web page (HTML), and no image; download the file itself",
    b"<html": "is a web page (HTML), and no image; download the file itself",
    b"%pdf": f"is a PDF, {NOT_READ}",
    b"pk\x03\x04": "is a ZIP archive or an office document; unpack it, or save what is in it",
    b"\x1f\x8b": "is compressed by gzip; unpack it",
    b"\xd0\xcf\x11\xe0": "is an office document; save what is in it",
    b"\x00\x00\x00\x0cjp": f"is JPEG 2000, {NOT_READ}",
    b"\xff\x4f\xff\x51": f"is JPEG 2000, {NOT_READ}",
    b"\x93numpy": f"is a NumPy array, {NOT_READ}",
    b"<?xml": "is XML, and no image",
    b"<svg": f"is SVG, {NOT_READ}",
}
IMAGES = {b"\x89PNG\r\n": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"II*\x00": "TIFF", b"MM\x00*": "TIFF"}
"""How files of these formats begin, whatever their names."""

BY_SUFFIX = {
    **dict.fromkeys((".dcm", ".dicom", ".ima"), DICOM),
    **dict.fromkeys((".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".mgz"), f"is a volume, {NOT_READ}, a slice a file"),
    **dict.fromkeys((".svs", ".ndpi", ".scn", ".mrxs", ".czi", ".lif"), f"is a microscope's image, {NOT_READ}"),
    **dict.fromkeys((".heic", ".heif"), f"is HEIC, {NOT_READ}"),
    **dict.fromkeys((".jp2", ".j2k", ".jpx"), f"is JPEG 2000, {NOT_READ}"),
    **dict.fromkeys((".npy", ".npz"), f"is a NumPy array, {NOT_READ}"),
    **dict.fromkeys((".mp4", ".avi", ".mov", ".mkv", ".wmv"), f"is a video, {NOT_READ}, a frame a file"),
    **dict.fromkeys((".nef", ".cr2", ".cr3", ".arw", ".dng", ".raw"), f"is a camera's raw image, {NOT_READ}"),
    **{f".{name}": f"is {name.upper()}, {NOT_READ}" for name in ("avif", "jxl", "svg", "psd", "tga", "exr", "hdr")},
}
COMPANIONS = frozenset((
    ".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".md", ".html", ".htm", ".yaml", ".yml", ".toml", ".xls",
    ".xlsx", ".ods", ".doc", ".pdf", ".log", ".db", ".ini", ".lnk", ".url", ".py", ".ipynb", ".m", ".r", ".sh", ".bat",
    ".zip", ".docx", ".tar", ".gz", ".tgz", ".7z", ".rar", ".md5", ".bak", ".tmp", ".lock", ".sha256", ".parquet",
))  # fmt: skip
"""Suffixes of files that lie beside images and are meant to be none: they are only noted."""


def disguise(head: bytes) -> str | None:
    """What a file is that cannot be read, by its first bytes, with the way out; None where they do not tell."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for beginning, words in STARTS.items():
        if start.startswith(beginning) or head.lower().startswith(beginning):
            return words
    if head[128:132] == b"DICM":
        return DICOM
    if head[4:8] == b"ftyp" and head[8:12] in FTYPES:
        return f"is {FTYPES[head[8:12]]}, {NOT_READ}"
    if b"annex/objects/" in head:
        return "is a git-annex pointer, and not the file itself; fetch it with git annex get"
    return None


def head_of(path: Path) -> bytes:
    """The first bytes of a regular file; none of another one."""
    try:
        with open_regular(path, os.O_RDONLY) as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def unread(path: Path) -> str | None:
    """What a file without the suffix of an image that is read is, with the way out; None where it is meant to be none.

    A file of an unknown suffix, or of none, is looked into.
    """
    name = path.name.lower()
    for suffix in (path.suffix.lower(), "".join(path.suffixes[-2:]).lower()):
        if suffix in BY_SUFFIX:
            return BY_SUFFIX[suffix]
    if path.suffix.lower() in COMPANIONS or name in COMPANIONS:
        return None
    head = head_of(path)
    for beginning, kind in IMAGES.items():
        if head.startswith(beginning):
            return f"is a {kind} image without its suffix; rename it to end in .{kind.lower()}"
    found = disguise(head)
    is_image = found and (found == DICOM or NOT_READ in found)
    return found if is_image else None
