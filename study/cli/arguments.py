"""Arguments that several commands have."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from study.store.roots import WHERE

CONFIGS = "configs"
"""The folder of the studies that come with this project: in a checkout beside the packages, else inside of study/."""


def own_study(given: str) -> str:
    """A study file as it is named; one of `configs/` that is not there is the one that comes with this project."""
    path = Path(given)
    if path.parts[:1] != (CONFIGS,) or path.exists():
        return given
    places = (Path(__file__).parents[2], Path(__file__).parents[1])
    return next((str(place / path) for place in places if (place / path).is_file()), given)


DEFAULT_STUDY = own_study(f"{CONFIGS}/digits.yaml")


def add_study(parser: argparse.ArgumentParser) -> None:
    """What names a study file, and changes its settings."""
    text = "a study file (default: configs/digits.yaml)"
    parser.add_argument("config", nargs="?", default=str(DEFAULT_STUDY), metavar="CONFIG", help=text)
    add_settings(parser)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """What changes the settings of a study file."""
    parser.add_argument("--preset", metavar="NAME", help="settings under presets: in the study file, before any --set")
    text = "change a setting, e.g. --set replicates=1; may be repeated"
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=text)


def add_folder(parser: argparse.ArgumentParser) -> None:
    """What names a study's store."""
    parser.add_argument("folder", metavar="STORE", help=WHERE)


def add_include_records(parser: argparse.ArgumentParser, what: str) -> None:
    """What may show records. what: and so is as sensitive as the data."""
    parser.add_argument("--include-records", action="store_true", help=f"{what}: as sensitive as the data")


def file_path(text: str) -> Path:
    """The type of an argument: the path of a file, which has a name."""
    path = Path(text)
    if path.name in ("", ".."):
        raise argparse.ArgumentTypeError(f"{text!r} names no file")
    return path


def number(what: str, least: float, most: float = math.inf) -> Callable[[str], float]:
    """The type of an argument: a finite number within bounds."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most or math.isinf(value):
            bounds = f"from {least:g}" + ("" if math.isinf(most) else f" to {most:g}")
            raise argparse.ArgumentTypeError(f"{text!r} is no number{what} {bounds}")
        return value

    return parse
