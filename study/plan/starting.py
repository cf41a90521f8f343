"""A first study file for somebody's folder of images: sizes that fit it, and a comment on each thing to decide."""

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from mia_core.data import SOURCES, Pool, load_pool
from mia_core.data.decoding import DEEP_GRAY, SUFFIXES
from mia_core.data.images import below
from mia_core.data.label_table import header_of
from mia_core.errors import Refused
from mia_core.paths import expanded
from study.design.study_design import Design
from study.spec import documents
from study.spec.overrides import override
from study.spec.study_file import parse

FEWEST = 200
"""Images below which no study of two training-set sizes has enough records to judge."""
SHARES = (1.0, 0.85, 0.7, 0.55, 0.4)
"""Of the images, tried in turn: groups and copies that stay together leave less room than there are images."""
SMALL = (0.1, 0.2)
"""Of these, the smaller training set, tried in turn: a person is at most a tenth of the records that are judged."""
LOOKED_AT = 20
NAMES_PERSONS = frozenset(("group_folders", "group_column"))
SETTABLE = {
    "on_unreadable": "skip", "on_unmatched": "skip", "window": "", "transparency": "white", "pages": "first"
}  # fmt: skip
"""Settings of data that a refusal may name as the way out, with a value."""

FILE = """\
# A study of the images in {root}: how training-set size, epochs and two defenses change what a DCGAN leaks about them.
# Written by `mia-study init` for {images} images; each number may be changed.
#   mia-study sweep {out} --plan   what it would run, and what that takes; runs nothing
#   mia-study sweep {out}   runs it; the same command again goes on
#   mia-study report results/{study}
study: {study}
seed: 1
data:
  name: image_folder
  root: {quoted}
  size: {size}  # pixels of the central square; 64 shows more, and takes four times as long
  channels: {channels}  # 3 for color, 1 for gray
  on_unreadable: {on_unreadable}  # refuse, or skip: leave out what cannot be read, and say so in the plan
{further}{persons}split:
  reference: {reference}  # for the feature network, and to judge quality against
  unseen: {unseen}
  panel: {panel}  # records that are judged; each is a member by a fair coin in every replicate
  filler: fixed  # a coin adds or removes its record alone: audits are twice as sharp, members vary by a few
  known: {known}  # members, and as many non-members, that attackers may know
factors:
  target:
    - {{name: dcgan, width: 16, norm: batch, arms: none}}  # the published network: what people train and release
    - {{name: dcgan, label: dcgan_group, width: 16, norm: group}}  # with a norm that DP-SGD can have, too
  train_size: [{small}, {large}]
  epochs: [20, 80]
  defense:
    - none
    - {{name: dropout, rate: 0.5}}
    - {{name: dp_sgd, sigma: 1.0, clip: 1.0, delta: 1.0e-5}}  # docs/privacy.md says what epsilon that is
training: {{batch_size: {batch}, learning_rate: 2.0e-4}}
replicates: 5  # fewer than 3 settle nothing
attacks:
  - white_box  # sees the discriminator
  - {{name: local_gan, steps: [200, 1000], generated: 1000, at: {{epochs: last}}}}  # sees samples, knows some members
  - {{name: euclidean, generated: 1000}}  # sees samples alone
{quality}
"""
PERSONS = """\
{table}  # Records of one person or patient must not be on both sides of membership. Where a person has several images:
  # group_folders: true  # first-level sub-folders are persons
  # or labels, file_column, label_column and group_column name a CSV file in root and its columns.
  # The sizes below fit no persons yet; `mia-study init` writes some that do with --set data.group_folders=true, or
  # --set data.labels=TABLE.csv --set data.group_column=COLUMN.
"""
QUALITY = "quality: {{samples: {samples}, extractor: {{features: {features}}}}}"
NO_LABELS = """\
quality: {measures: []}  # measures of quality need labels of two classes or more: sub-folders or a CSV file
"""


def first_study(root: str, out: str, skip: bool = False, settings: Sequence[str] = ()) -> tuple[str, Pool]:
    """Text of a study file, which a plan accepts, and the pool that it is of.

    root: the folder of images. out: where the file goes, for its own comments. skip: leave unreadable images out.
    settings: `data.key=value`, of the section data. Refused where there are too few images, or where persons are too
    large for any sizes.
    """
    folder = expanded(root)
    if not folder.is_dir():
        raise Refused(f"{root}: is no folder; name the one that your images are in")
    files = [folder / name for name in below(folder)]
    images = [file for file in files if file.suffix.lower() in SUFFIXES]
    known = {"name": "image_folder", "root": root, **_shape(images), "on_unreadable": "skip" if skip else "refuse"}
    given = {**known, **_of_data(settings)}
    try:
        pool = load_pool(SOURCES.choose(given, "data"))
    except Refused as error:
        raise Refused(f"{error}{_way_out(str(error), images)}") from None
    if len(pool) < FEWEST:
        raise Refused(f"{root}: has {len(pool)} usable images, and a study needs {FEWEST} or more")
    table = _table([file for file in files if file.suffix.lower() == ".csv" and file.parent == folder])
    further = {key: value for key, value in given.items() if key not in known}
    words = {
        "size": given["size"],
        "channels": given["channels"],
        "root": _in_comment(root),
        "quoted": json.dumps(root, ensure_ascii=False),
        "images": len(pool),
        "out": shlex.quote(_in_comment(out)),
        "study": _name(folder),
        "on_unreadable": given["on_unreadable"],
        "further": "".join(f"  {key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in further.items()),
        "persons": "" if NAMES_PERSONS & further.keys() else PERSONS.format(table=table),
    }
    largest = int(np.bincount(pool.units).max()) if NAMES_PERSONS & further.keys() else 1
    refusal = Refused(root)
    for small, share in product(SMALL, SHARES):
        sizes = _sizes(int(share * len(pool)), small, largest)
        quality = QUALITY.format(**sizes) if len(np.unique(pool.labels)) > 1 else NO_LABELS.rstrip()
        text = FILE.format(**words, **sizes, quality=quality)
        try:
            design = Design(parse(documents.parse(text, out)), pool)
            for trial in design.trials:
                design.membership(trial)
        except Refused as error:
            refusal = error
        else:
            return text, pool
    raise refusal


def _of_data(settings: Sequence[str]) -> dict[str, Any]:
    """Settings of the section data by name, as a study file would have them."""
    document: dict[str, Any] = {"data": {}}
    for setting in settings:
        if not setting.startswith("data."):
            raise Refused(f"--set {setting}: init takes settings of data, e.g. data.window; change others in its file")
        override(document, setting)
    found: dict[str, Any] = document["data"]
    return found


def _way_out(words: str, images: Sequence[Path]) -> str:
    """What init takes for settings that a refusal names."""
    named = [name for name in SETTABLE if f"data.{name}=" in words]
    if not named:
        return ""
    flags = []
    for name in named:
        if name == "on_unreadable":
            flags.append("--skip-unreadable")
        elif name == "window":
            low, high = _values(images)
            flags.append(f"--set 'data.window=[{low},{high}]' (the least and the largest value of some of them)")
        else:
            flags.append(f"--set data.{name}={SETTABLE[name]}")
    return f"; init takes {', '.join(flags)}"


def _sizes(records: int, small_share: float, largest: int) -> dict[str, int]:
    """Numbers of records of a study that takes at most nine tenths of so many; largest: images of one person."""
    small = int(small_share * records)
    known = -(-max(2, -(-small // 10)) // largest) * largest  # whole persons fill it, also if all are as large
    panel = max(2, 2 * int(0.6 * (small - known)))
    reference = records // 4
    unseen = records // 8
    samples = unseen if largest == 1 else 9 * unseen // 10  # whole persons may leave a tenth of a part empty
    batch = max(2, min(32, small // 2))
    large = int(0.35 * records)
    return {
        "small": small, "large": large, "known": known, "panel": panel, "reference": reference, "unseen": unseen,
        "batch": batch, "samples": min(300, samples), "features": min(32, reference // 2),
    }  # fmt: skip


def _opened(images: Sequence[Path], every: bool = False) -> Iterator[ImageFile]:
    """Some of the images, spread over all, or all of them; those that cannot be opened are passed over."""
    for file in images if every else images[:: max(1, len(images) // LOOKED_AT)]:
        try:
            with Image.open(file) as image:
                yield image
        except (OSError, ValueError, Image.DecompressionBombError):
            continue


def _shape(images: Sequence[Path]) -> dict[str, int]:
    """Pixels and channels by some of the images."""
    looked = [(min(image.size), image.mode) for image in _opened(images)]
    color = any(mode not in ("1", "L", *DEEP_GRAY) for _, mode in looked)
    return {
        "size": 16 if looked and max(side for side, _ in looked) < 32 else 32,
        "channels": 3 if color or not looked else 1,
    }


def _values(images: Sequence[Path]) -> tuple[float, float]:
    """The least and the largest value of some of the images with more than 8 bits, of which there is one or more."""
    deep = [Path(str(image.filename)) for image in _opened(images, every=True) if image.mode in DEEP_GRAY]
    arrays = [np.asarray(image) for image in _opened(deep)]
    return min(array.min().item() for array in arrays), max(array.max().item() for array in arrays)


def _table(tables: Sequence[Path]) -> str:
    """A comment on the CSV files that lie beside the images."""
    lines = []
    for table in tables[:3]:
        try:
            header = header_of(table)
        except Refused:
            continue
        columns = ", ".join(_in_comment(name) for name in header[:12])
        lines.append(f"  # {_in_comment(table.name)} has the columns {columns}\n")
    return "".join(lines)


def _in_comment(text: str) -> str:
    """One line without what YAML does not take, not even in a comment."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:200]


def _name(folder: Path) -> str:
    name = re.sub(r"[^A-Za-z0-9]+", "_", folder.resolve().name).strip("_").lower()
    return name[:80] or "mine"
