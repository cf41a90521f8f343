"""Every module has a name of its own, and the page on the architecture names modules that there are."""

import ast
import re
import sys
from importlib.metadata import packages_distributions
from itertools import combinations
from pathlib import Path

import pytest

from tests.mutants import MUTANTS

ROOT = Path(__file__).parent.parent
ROOMS = ("study", "analysis", "mia_core")
SUFFIXES = ("s", "er", "ing", "ed")


def modules():
    """Paths of all modules, relative to the repository."""
    paths = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    return [path.relative_to(ROOT) for path in paths if not path.stem.startswith("__")]


def stems(name):
    """What a name may be without its suffix: of `running` run, runn and runne."""
    found = {name}
    for suffix in SUFFIXES:
        base = name.removesuffix(suffix)
        if base != name:
            found |= {base, f"{base}e"} | ({base[:-1]} if base[-2:-1] == base[-1:] and suffix != "s" else set())
    return found


def alike(names):
    """Pairs of names that are equal, or differ by a suffix."""
    return [(one, other) for one, other in combinations(sorted(names), 2) if stems(one) & stems(other)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("controls", "controls"), ("compacting", "compacted"), ("track", "tracking"), ("runner", "running"),
        ("schedule", "scheduling"), ("cluster", "clusters"), ("train", "trainer"),
    ],
)  # fmt: skip
def test_names_that_differ_by_a_suffix_are_alike(one, other):
    assert alike([one, other])


@pytest.mark.parametrize(("one", "other"), [("cluster", "nodes"), ("files", "filling"), ("trials", "trial_row")])
def test_names_that_are_two_words_are_not_alike(one, other):
    assert not alike([one, other])


def test_what_was_tried_names_tests_that_there_are():
    rows = [line for line in (ROOT / "docs" / "image_folder.md").read_text().split("\n") if line.endswith("` |")]
    named = {re.search(r"`(test_\w+)` \|$", line)[1] for line in rows}
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)
    }
    assert len(rows) > 25 and named <= there


def test_no_two_modules_have_names_that_are_alike():
    assert not alike(path.stem for path in modules())


def test_no_module_shadows_a_package():
    others = {name for name, owners in packages_distributions().items() if owners != ["mia-study"]}
    assert {"random", "yaml", "torch"} <= others | sys.stdlib_module_names
    assert not [str(path) for path in modules() if path.stem in others | sys.stdlib_module_names]


def test_every_module_that_the_architecture_names_is_there():
    text = (ROOT / "docs/architecture.md").read_text()
    named = set(re.findall(r"\b(?:study|analysis|mia_core)(?:/\w+)*(?:\.py|/)(?!\w)", text))
    assert len(named) > 30
    assert not [name for name in sorted(named) if not (ROOT / name).exists()]


def test_the_architecture_has_every_wing():
    text = (ROOT / "docs/architecture.md").read_text()
    wings = {path.parent.relative_to(ROOT).as_posix() for room in ROOMS for path in (ROOT / room).rglob("__init__.py")}
    assert not [wing for wing in sorted(wings) if f"`{wing}/`" not in text]


@pytest.mark.parametrize("name", MUTANTS)
def test_every_line_that_a_mutant_changes_is_there_once(name):
    mutant = MUTANTS[name]
    assert mutant.line != mutant.other
    text = (ROOT / mutant.file).read_text()
    assert text.count(mutant.line) == 1
    if mutant.file.endswith(".py"):
        ast.parse(text.replace(mutant.line, mutant.other))  # what is no Python, an import would catch, and no test
    assert all((ROOT / test).exists() for test in mutant.tests.split())
