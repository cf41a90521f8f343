"""Refusals of a release that was asked for by a command line, in the words of that command line."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import fields

from mia_core.errors import Refused

FLAGS = {
    "release.key": "--key",
    "release.range": "--range",
    "release.latent": "--latent",
    "release.prediction": "--prediction",
    "release.schedule": "--schedule",
    "release.betas": "--betas",
    "release.timesteps": "--timesteps",
    "release.sampling_steps": "--set release.sampling_steps",
    "release.samples.root": "--samples",
    "release.samples.key": "--key",
    "release.samples.range": "--set release.samples.range",
    "release.target": "--target",
    "release.function": "--callable",
    "release.recipient": "--recipient",
    "release.epsilon": "--epsilon",
    "release.delta": "--delta",
    "release.epsilon_unit": "--epsilon-unit",
    "split.members": "--members",
    "split.non_members": "--non-members",
    "split.reference": "--reference",
    "split.groups": "--groups",
    "split.holdout": "--holdout",
    "data.size": "--size",
}
"""Settings that have a flag; every other one of the records and of their split is said by --set."""


@contextlib.contextmanager
def refused_by_flags(kind: str) -> Iterator[None]:
    """kind: of the release, whose flag is `--kind`."""
    try:
        yield
    except Refused as error:
        raise Refused(by_flags(str(error), kind)) from None


def by_flags(words: str, kind: str) -> str:
    """`release.key` becomes `--key`, `data.size=24` becomes `--size 24`, `data.pages=first` `--set data.pages=first`.

    A name in a path is no setting, and what --set says already stays.
    """
    flags = {**{name: f"--set {name}" for name in _settable()}, **FLAGS, "release.root": f"--{kind}"}
    names = "|".join(sorted(map(re.escape, flags), key=len, reverse=True))
    return re.sub(
        rf"(?<![\w./-])(?<!--set )({names})(?![\w.])(=?)", lambda found: _as_flag(flags[found[1]], found[2]), words
    )


def _as_flag(flag: str, sign: str) -> str:
    return flag + (sign if flag.startswith("--set ") else " " * len(sign))


def _settable() -> list[str]:
    """Settings of the records and of their split; asked for late, because these import what a help text need not."""
    from mia_core.data.given_folders import GivenFolders
    from mia_core.data.given_split import Given

    sections = {"data": GivenFolders.Config, "split": Given.Config}
    return [f"{section}.{item.name}" for section, config in sections.items() for item in fields(config)]
