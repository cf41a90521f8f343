"""A card for each registered target, attack and defense, and a page of measures: from registries and docstrings.

A card has the source, what the class does and where it deviates from its authors', what it needs, its settings, the
constants of its file, and the tests that hold it to the paper.
"""

import inspect
from collections.abc import Iterable
from types import ModuleType

from documentation.docstrings import code, constants, docstring, in_cell, settings_table, tests_of
from mia_core.attacks import ATTACKS, Attack
from mia_core.defenses import DEFENSES
from mia_core.derived import DERIVED
from mia_core.metrics import MEASURES
from mia_core.metrics import copies as copies_module
from mia_core.metrics import quality as quality_module
from mia_core.targets import TARGETS


def target_cards() -> str:
    """Every target."""
    cards = []
    for name in TARGETS.names():
        cls = TARGETS.find(name)
        assert cls
        facts = {
            "offers": _words(getattr(cls, "offers", None)),
            "private networks": _words(getattr(cls, "private", ())),
        }
        cards.append(_card(name, cls, facts))
    return _page(
        "Targets",
        "A target is a generative model that a study trains. Attacks use the capabilities that its snapshots offer; "
        "private networks are those whose gradients depend on real records.",
        cards,
    )


def attack_cards() -> str:
    """Every attack that scores records by a model."""
    cards = []
    for name in ATTACKS.names():
        cls = ATTACKS.find(name)
        assert cls
        facts = {"uses": _words(cls.uses), "needs to know": _words(cls.needs)}
        cards.append(_card(name, cls, facts))
    return _page(
        "Attacks",
        "An attack gives each record a score, higher for what is more likely a member, from capabilities of a model "
        "that it `uses` and what the attacker `needs to know` besides. The [guide](../attacks.md) says which one wins.",
        cards,
    )


def derived_cards() -> str:
    """Every attack that is computed from sealed scores."""
    cards = []
    for name in DERIVED.names():
        cls = DERIVED.find(name)
        assert cls
        facts = {
            "takes several attacks": "yes" if cls.combines else "no",
            "takes other trainings": "yes" if cls.needs_reference else "no",
            "takes persons of several records": "yes" if cls.needs_persons else "no",
            "takes queries that are never members": str(DERIVED.choose(name).build().fewest_never_members or "no"),
        }
        cards.append(_card(name, cls, facts))
    return _page(
        "Derived attacks",
        "A derived attack is a pure function of sealed scores of other attacks and trainings; it trains nothing.",
        cards,
    )


def defense_cards() -> str:
    """Every defense."""
    cards = []
    for name in DEFENSES.names():
        cls = DEFENSES.find(name)
        assert cls
        cards.append(_card(name, cls, {"strength": code(cls.strength) if cls.strength else "has none"}))
    return _page(
        "Defenses",
        "An arm of a study is one defense, or a list of them. Only `dp_sgd` with noise guarantees anything.",
        cards,
    )


def measure_page() -> str:
    """What is measured of samples."""
    lines = ["# Measures of samples", "", f"`quality.measures` of a study lists some of: {_words(MEASURES)}.", ""]
    for module in (quality_module, copies_module):
        lines += [f"## `{module.__name__}`", "", docstring(module), ""]
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and not name.startswith("_"):
                lines += [f"### `{name}{inspect.signature(function)}`", "", docstring(function), ""]
    return "\n".join(lines)


def _page(title: str, about: str, cards: Iterable[str]) -> str:
    return "\n".join([f"# {title}", "", about, "", *cards])


def _card(name: str, cls: type, facts: dict[str, str]) -> str:
    module = inspect.getmodule(cls)
    assert module
    lines = [f"## `{name}`", "", docstring(module), ""]
    lines += [docstring(cls), ""] if docstring(cls) else []
    lines += ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in facts.items())]
    lines += [f"| class | `{cls.__module__}.{cls.__qualname__}` |", ""]
    lines += ["**Settings.** " + settings_table(cls.Config), ""]  # type: ignore[attr-defined]
    lines += [*_constants(module), *_tests(module)]
    return "\n".join(lines)


def _constants(module: ModuleType) -> list[str]:
    found = constants(module)
    if not found:
        return []
    rows = [f"| `{name}` | {code(value)} | {in_cell(words)} |" for name, value, words in found]
    return ["**Constants.**", "", "| constant | value | what it is |", "|---|---|---|", *rows, ""]


def _tests(module: ModuleType) -> list[str]:
    found = tests_of(module)
    if not found:
        return []
    lines = [f"- {words}" for _, words in found]
    return [f"**What it is held to**, by the tests of `{found[0][0]}`:", "", *lines, ""]


def _words(names: object) -> str:
    """Names in a row; what an attack has made a property of its own depends on its settings."""
    if names is Attack.needs:
        return "nothing"
    if isinstance(names, property):
        return "depends on settings"
    assert names is None or isinstance(names, Iterable)
    return ", ".join(f"`{name}`" for name in sorted(map(str, names or ()))) or "nothing"
