"""Small packages that offer classes, as an installer leaves them in a folder of packages."""

import re
import sys
import tomllib
from importlib import invalidate_caches
from pathlib import Path

PAGE = (Path(__file__).parents[1] / "docs" / "tutorials" / "write_an_attack.md").read_text()
PYPROJECT = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)[1]
ATTACK = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
"""The package of the tutorial: its pyproject.toml and its one file."""

DEFENSE = """
from mia_core.defenses import Defense
from mia_core.settings import settings


class HalfInput(Defense):
    name = "half_input"
    strength = "share"

    @settings
    class Config:
        share: float = 0.5
        floor: float = 0.0

    def inputs(self, x_BCHW, draw):
        return x_BCHW * self.config.share
"""

TARGET = re.search(
    r"```python\n(from torch import nn.*?)```", (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(), re.DOTALL
)[1].replace("@TARGETS.register\n", "")
"""The target of CONTRIBUTING, as a package has it."""

DATA = """
from dataclasses import replace

from mia_core.data import Source
from mia_core.data.digits import Digits
from mia_core.settings import Nothing


class Negatives(Source):
    name = "negatives"
    Config = Nothing

    def load(self):
        digits = Digits(Digits.Config(size=8)).load()
        return replace(digits, name="negatives", images=255 - digits.images)
"""


def install(folder, name, version="0.1.0", files=None, **groups):
    """Put a package into a folder, as an installer does. groups: entry points by group, each a name and its value."""
    for file, text in (files or {}).items():
        (folder / file).write_text(text)
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [
        line
        for group, points in groups.items()
        for line in (f"[mia_study.{group}]", *(f"{key} = {value}" for key, value in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    invalidate_caches()


def install_tutorial(folder, version=None):
    """The package of the tutorial, as its pyproject.toml says."""
    about = tomllib.loads(PYPROJECT)
    (module,) = about["tool"]["setuptools"]["py-modules"]
    groups = {key.removeprefix("mia_study."): points for key, points in about["project"]["entry-points"].items()}
    install(
        folder, about["project"]["name"], version or about["project"]["version"], {f"{module}.py": ATTACK}, **groups
    )


def forget(*modules):
    """As in a new process: nothing of packages is imported."""
    from mia_core.attacks import ATTACKS
    from mia_core.data import SOURCES
    from mia_core.defenses import DEFENSES
    from mia_core.targets import TARGETS

    for registry in (ATTACKS, DEFENSES, TARGETS, SOURCES):
        registry._loaded.clear()
    for module in modules:
        sys.modules.pop(module, None)
