"""Registries: classes of one kind by name, of this project and of installed packages, with their settings."""

import contextlib
import dataclasses
import inspect
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from mia_core import offers
from mia_core.errors import Refused, shorten
from mia_core.hashing import canonical_json
from mia_core.offers import Package
from mia_core.settings import Choice, nearest, validate

T = TypeVar("T")


@dataclass(frozen=True)
class StoredSettings:
    """Settings of a package's class, as a store has them: they are attributes, and nothing has validated them.

    values, facts: canonical JSON. facts: what the store says of the class.
    """

    values: str
    facts: str = field(compare=False)

    def __getattr__(self, name: str) -> Any:
        found = {} if name.startswith("_") else json.loads(self.values)
        if name not in found:
            raise AttributeError(name)
        return tuple(found[name]) if isinstance(found[name], list) else found[name]

    def fact(self, name: str) -> Any:
        """Something that the store says of the class, None if it does not."""
        return json.loads(self.facts).get(name)


@dataclass(frozen=True)
class StoredChoice(Choice[T]):
    """A class of a package that a store names: with its settings, and without its code."""

    def build(self, *args: Any, **kwargs: Any) -> T:
        """A stand-in, for what can be told without the code; else Refused."""
        if inspect.isabstract(self.cls):
            raise Refused(f"{self.name} is of the package {self.package}, whose code is not run to read a store")
        return super().build(*args, **kwargs)

    def arguments(self) -> dict[str, Any]:
        """The settings as plain values."""
        found: dict[str, Any] = json.loads(self.config.values)
        return found

    settings = arguments


class Registry(Generic[T]):
    """Classes of one kind by name; each has a `name` and a settings class `Config`.

    group: of entry points by which packages offer more of them; None for a kind that packages cannot add to. stored:
    the class that stands for theirs where a store is read; its `kept(choice, before)` says what a store has to keep of
    a class, of which it kept `before` for other settings, and its `unfit_class(cls)` why a package cannot offer it.
    """

    def __init__(self, kind: str, group: str | None = None, stored: Any = None) -> None:
        self.kind, self.group = kind, group
        self._stored = stored
        self._classes: dict[str, type[T]] = {}
        self._loaded: dict[str, tuple[type[T], Package]] = {}

    def register(self, cls: type[T]) -> type[T]:
        """Decorator that adds a class; the name must not be registered yet."""
        name: str = cls.name  # type: ignore[attr-defined]
        assert name not in self._classes, f"{self.kind} {name!r} is registered twice"
        self._classes[name] = cls
        return cls

    def names(self) -> list[str]:
        """All names of this project, sorted."""
        return sorted(self._classes)

    def offered(self) -> list[str]:
        """Names that only installed packages offer, sorted; nothing is imported."""
        return [] if self.group is None else sorted(offers.points(self.group).keys() - self._classes.keys())

    def find(self, name: object) -> type[T] | None:
        """The class of this project with this name, or None."""
        return self._classes.get(name) if isinstance(name, str) else None

    def fact(self, name: object, what: str) -> Any:
        """An attribute of the class with this name, of this project or a package; None without either."""
        if not isinstance(name, str):
            return None
        if (facts := self._facts(name)) is not None:
            return facts.get(what)
        found = self._classes.get(name) or (self._of_package(name, self.kind) or (None,))[0]
        return getattr(found, what, None)

    def knows(self, name: object) -> bool:
        """Whether there is such a class, of this project or a package."""
        return isinstance(name, str) and (
            name in self._classes or self._facts(name) is not None or self._of_package(name, self.kind) is not None
        )

    def choose(self, spec: str | Mapping[str, Any], where: str = "") -> Choice[T]:
        """Resolve `"name"` or `{"name": ..., settings}`; Refused with place and nearest name if the name is unknown."""
        where = where or self.kind
        values = {"name": spec} if isinstance(spec, str) else dict(spec) if isinstance(spec, Mapping) else {}
        name = values.pop("name", None)
        if not isinstance(name, str):
            raise Refused(f"{where}: expected a name or a mapping with a name, got {shorten(repr(spec))}")
        if (facts := self._facts(name)) is not None:
            return self._stand_in(name, values, facts, where)
        cls, package = (self._classes[name], None) if name in self._classes else self._loadable(name, where)
        return Choice(name, cls, validate(cls.Config, values, where), package)  # type: ignore[attr-defined]

    def facts(self, choices: Iterable[Choice[T]]) -> dict[str, dict[str, Any]]:
        """What a store has to keep of classes of packages, so that it is read without them; none of this project's."""
        found: dict[str, dict[str, Any]] = {}
        for choice in choices:
            if choice.package is not None and self._stored is not None:
                before = found.get(f"{self.kind} {choice.name}", {})
                own = {"package": choice.package.name, **self._stored.kept(choice, before)}
                found[f"{self.kind} {choice.name}"] = own
        return found

    def _facts(self, name: str) -> Mapping[str, Any] | None:
        """What a store that is being read says of a package's class; None where it says nothing, or none is read."""
        at_hand = offers.facts_at_hand()
        found = None if at_hand is None or self._stored is None else at_hand.get(f"{self.kind} {name}")
        return found if isinstance(found, Mapping) else None

    def _stand_in(self, name: str, values: Mapping[str, Any], facts: Mapping[str, Any], where: str) -> Choice[T]:
        package = facts.get("package")
        if not offers.NAME.fullmatch(name) or not all(map(offers.NAME.fullmatch, values)):
            raise Refused(f"{where}: {self.kind} {shorten(repr(name))} or a setting of it has a name that none has")
        if not isinstance(package, str) or not offers.DISTRIBUTION.fullmatch(package):
            raise Refused(f"{where}: {self.kind} {name} is of no package that has a proper name")
        config = StoredSettings(canonical_json(values), canonical_json(facts))
        return StoredChoice(name, self._stored, config, Package(package, ""))

    def _loadable(self, name: str, where: str) -> tuple[type[T], Package]:
        if found := self._of_package(name, where):
            return found
        known = {*self._classes, *(self.offered() if offers.may_load() else self._loaded)}
        raise Refused(f"{where}: unknown {self.kind} {shorten(repr(name))}{nearest(name, known)}")

    def _of_package(self, name: str, where: str) -> tuple[type[T], Package] | None:
        if name not in self._loaded and self.group is not None and offers.may_load():
            with self._unchanged(name, where):
                found = offers.load(self.kind, self.group, name, where)
            if found is None:
                return None
            cls, package = found
            if reason := self._unfit(name, cls):
                raise Refused(f"{where}: {self.kind} {name!r} of the package {package} {reason}")
            self._loaded[name] = cls, package
        return self._loaded.get(name) if offers.facts_at_hand() is None else None

    @contextlib.contextmanager
    def _unchanged(self, name: str, where: str) -> Iterator[None]:
        """Refused where a package's module puts classes among this project's."""
        before = dict(self._classes)
        try:
            yield
        finally:
            added = sorted(self._classes.keys() - before.keys())
            for one in added:
                del self._classes[one]
        if added:
            raise Refused(
                f"{where}: the package of {self.kind} {name!r} registers {', '.join(added)}; its entry point is "
                "enough, so leave the decorator out"
            )

    def _unfit(self, name: str, cls: Any) -> str | None:
        """Why a package cannot offer this as a class of this kind, or None."""
        base = self._stored.__mro__[1]
        if not isinstance(cls, type) or not issubclass(cls, base):
            return f"is no {base.__name__}; derive it from {base.__module__.rpartition('.')[0]}.{base.__name__}"
        if getattr(cls, "name", None) != name:
            return f"has the `name` {getattr(cls, 'name', None)!r}, and the entry point another one"
        if inspect.isabstract(cls):
            return f"lacks {', '.join(sorted(getattr(cls, '__abstractmethods__', ())))}"
        config = getattr(cls, "Config", None)
        if not dataclasses.is_dataclass(config):
            return "has a Config that is no settings class; decorate it with `mia_core.settings.settings`"
        if odd := [one.name for one in dataclasses.fields(config) if not offers.NAME.fullmatch(one.name)]:
            return f"has a setting {odd[0]!r}; its name must be made of a to z, digits and _"
        version = getattr(cls, "version", 1)
        if type(version) is not int or version < 1:
            return f"has the version {version!r}, which must be a whole number from 1"
        reason: str | None = self._stored.unfit_class(cls)
        return reason
