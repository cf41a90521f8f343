"""Settings: frozen, validated, keyword-only dataclasses, and choices of a class with its settings."""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, dataclass_transform

from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass as validated_dataclass

from mia_core.errors import Refused, shorten
from mia_core.offers import Package

T = TypeVar("T")
SHOWN = 5
"""Mistakes that one error message lists at most."""


_CONFIG = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def settings(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass that rejects unknown keys, wrong types and non-finite numbers, also in Python."""
    decorate: Any = validated_dataclass(frozen=True, kw_only=True, config=_CONFIG)
    return decorate(cls)


@settings
class Nothing:
    """Nothing to set."""


def added_later(default: Any) -> Any:
    """A setting that older stored specs lack. `plain` omits it at its default, so that their ids do not change."""
    return dataclasses.field(default=default, metadata={"added_later": True})


def plain(config: Any) -> dict[str, Any]:
    """Settings as plain values, with defaults, except for settings that were added later and are at their default."""
    values: dict[str, Any] = dataclasses.asdict(config)
    later = [field for field in dataclasses.fields(config) if field.metadata.get("added_later")]
    for field in later:
        if values[field.name] == field.default:
            del values[field.name]
    return values


def nearest(word: str, known: Iterable[str]) -> str:
    """'; did you mean X?' if a known word is close to `word`, else a list of the known words."""
    known = sorted(known)
    if not known:
        return "; there is nothing to set here"
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"


def validate(model: type[T], values: Mapping[str, Any], where: str) -> T:
    """`model(**values)`. Refused, in one line with `where` and the nearest name, for wrong values and unknown keys."""
    if not isinstance(values, Mapping):
        raise Refused(f"{where}: expected keys and values, got {shorten(repr(values))}")
    try:
        return model(**values)
    except ValidationError as error:
        found = [_line(item, model, where) for item in error.errors()]
        more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
        raise Refused("; ".join([*found[:SHOWN], *more])) from None


def _line(item: Any, model: type, where: str) -> str:
    message = item["msg"].removeprefix("Value error, ")
    message = f"{message[0].lower()}{message[1:]}"
    if not item["loc"]:  # settings that contradict each other have no place, unless the check says one
        placed = where and any(message.startswith((f"{name}:", f"{name}.")) for name in _fields(model))
        return f"{where}.{message}" if placed else f"{where}: {message}"
    *parents, key = [str(part) for part in item["loc"]]
    place = shorten(".".join([where, *parents, key] if where else [*parents, key]))
    if item["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{place}: unknown key{nearest(key, _fields(model))}"
    if item["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{place}: required, and missing"
    if message.startswith((f"{key}:", f"{key}.", f"{place}:", f"{place}.")):  # of a check that says its place itself
        return f"{place}{message.removeprefix(place if message.startswith(place) else key)}"
    return f"{place}: {message} (got {shorten(repr(item['input']))})"


def _fields(model: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(model)]


@dataclass(frozen=True)
class Choice(Generic[T]):
    """A class with its settings: what a spec names, and everything needed to build the object.

    package: the installed one that offers the class; None of a class of this project.
    """

    name: str
    cls: type[T]
    config: Any
    package: Package | None = dataclasses.field(default=None, compare=False)

    def build(self, *args: Any, **kwargs: Any) -> T:
        """Build the object: `cls(config, ...)`."""
        return self.cls(self.config, *args, **kwargs)  # type: ignore[call-arg]

    def arguments(self) -> dict[str, Any]:
        """The settings as plain values, see `plain`."""
        return plain(self.config)

    def settings(self) -> dict[str, Any]:
        """All settings as plain values."""
        return dataclasses.asdict(self.config)

    def to_dict(self) -> dict[str, Any]:
        """`{"name": ..., **arguments}`, as a spec has it."""
        return {"name": self.name, **self.arguments()}


def in_vain(choice: Choice[Any], *facts: Any) -> dict[str, str]:
    """Settings that were given and mean nothing beside the others, each with the reason: by `unread` of the class.

    Given is what is not at its default; a setting without a default has to be given. facts: what `unread` takes beside
    the settings.
    """
    unread: dict[str, str] = choice.cls.unread(choice.config, *facts)
    return {
        field.name: unread[field.name]
        for field in dataclasses.fields(choice.config)
        if field.name in unread and getattr(choice.config, field.name) != _default(choice.config, field)
    }


def _default(config: Any, field: dataclasses.Field[Any]) -> Any:
    """The setting's own value where it has no default."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return getattr(config, field.name) if field.default is dataclasses.MISSING else field.default


def require_read(choice: Choice[Any], where: str, *facts: Any) -> None:
    """Refused where a setting was given that means nothing beside the others, see `in_vain`. where: of messages."""
    for name, reason in in_vain(choice, *facts).items():
        raise Refused(f"{where}.{name}: {choice.name} {reason}; leave it out")
