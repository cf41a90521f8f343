"""Classes that installed packages offer by entry points, and when their code may run.

A package names a class in one of the groups `mia_study.attacks`, `mia_study.defenses`, `mia_study.targets` and
`mia_study.data_sets`. It is imported where a name is none of this project's and a study file or a caller asks for it,
within `loading`. What is read from a store imports nothing: within `reading`, names of packages are stand-ins that know
what the store says of them.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping, Set
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from mia_core.errors import Refused, shorten

PREFIX = "mia_study."
NAME = re.compile(r"[a-z][a-z0-9_]{0,59}", re.ASCII)
"""What a package may call a class, or a setting: columns, labels and metrics are made of these names."""
DISTRIBUTION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?", re.ASCII)
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_-]{0,98}", re.ASCII)


@dataclass(frozen=True)
class Package:
    """An installed package. name: normalized, as an index has it."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


LOADING = object()
_mode: ContextVar[Any] = ContextVar("mode", default=None)


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Within it, names that are not this project's are looked for in installed packages, whose code is imported."""
    with _in(LOADING):
        yield


@contextlib.contextmanager
def reading(facts: object) -> Iterator[None]:
    """Within it, names of packages are stand-ins. facts: what a store says of them, by kind and name."""
    with _in(facts if isinstance(facts, Mapping) else {}):
        yield


def within(facts: Mapping[str, Any] | None) -> contextlib.AbstractContextManager[None]:
    """As `reading`, unless there are no facts, because nothing is being read."""
    return contextlib.nullcontext() if facts is None else reading(facts)


@contextlib.contextmanager
def _in(mode: Any) -> Iterator[None]:
    token = _mode.set(mode)
    try:
        yield
    finally:
        _mode.reset(token)


def may_load() -> bool:
    """Whether code of packages may be imported now."""
    return _mode.get() is LOADING


def facts_at_hand() -> Mapping[str, Any] | None:
    """What is known of classes of packages that are read, None where nothing is being read."""
    mode = _mode.get()
    return mode if isinstance(mode, Mapping) else None


def points(group: str) -> dict[str, list[EntryPoint]]:
    """What installed packages offer in a group, by name, without importing any of it."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=PREFIX + group):
        same = found.setdefault(point.name, [])
        if all((other.value, _named(other)) != (point.value, _named(point)) for other in same):
            same.append(point)
    return dict(sorted(found.items()))


def unknown_groups(known: Set[str]) -> list[str]:
    """Groups of this project's prefix in which something is offered, and which nobody reads."""
    groups = {group.removeprefix(PREFIX) for group in entry_points().groups if group.startswith(PREFIX)}
    return sorted(groups - known)


def package_of(point: EntryPoint) -> Package:
    """The package of an entry point; Refused for one without a proper name and version."""
    name, version = _named(point), point.dist.version if point.dist else ""
    if not DISTRIBUTION.fullmatch(name) or not VERSION.fullmatch(str(version)):
        raise Refused(f"a package that offers {shorten(repr(point.name))} has no proper name and version; install it")
    return Package(re.sub(r"[-_.]+", "-", name).lower(), str(version))


def load(kind: str, group: str, name: str, where: str) -> tuple[Any, Package] | None:
    """Import what a package offers by this name, None if none does; Refused, with the package, where that fails."""
    found = points(group).get(name, [])
    if not found:
        return None
    if len(found) > 1:
        names = " and ".join(f"{package_of(point)} ({point.value})" for point in found)
        raise Refused(f"{where}: {kind} {shorten(repr(name))} is offered twice, by {names}; uninstall one of them")
    (point,) = found
    package = package_of(point)
    what = f"{where}: {kind} {shorten(repr(name))} of the package {package}"
    if not NAME.fullmatch(name):
        raise Refused(f"{what}: a name is made of a to z, digits and _, begins with a letter, and has at most 60")
    try:
        return point.load(), package
    except (Exception, SystemExit) as error:  # whatever somebody's module does when it is imported
        why = " ".join(str(error).split())
        raise Refused(
            f"{what} cannot be imported: {type(error).__name__}: {shorten(why)}; mend or update it"
        ) from error


def _named(point: EntryPoint) -> str:
    name = point.dist.metadata["Name"] if point.dist else None
    return str(name or "")
