"""What changes a study file's plain values before they are checked: a preset of the file, and `--set key=value`."""

from collections.abc import Mapping
from typing import Any

from mia_core.errors import Refused, shorten
from mia_core.settings import nearest
from study.spec import documents
from study.spec.factors import OWN_FACTORS


def apply_preset(document: dict[str, Any], preset: str | None) -> None:
    """Take `presets` out of a document, and set what the named one says.

    A preset is an item of `presets:`, a name with dotted settings; it is no part of the study itself. Refused for
    presets that are none, and for one that is not there.
    """
    presets = document.pop("presets", {})
    if not isinstance(presets, dict) or not all(isinstance(settings, dict) for settings in presets.values()):
        raise Refused("presets: expected names, each with dotted keys and values")
    if preset is not None:
        if preset not in presets:
            raise Refused(f"--preset {preset}: unknown preset{nearest(preset, presets)}")
        for key, value in presets[preset].items():
            _set(document, key, value, f"presets.{preset}.{key}")


def override(document: dict[str, Any], setting: str) -> None:
    """Set one dotted key; items of a list are found by label, name or number, e.g. `attacks.local_gan.steps=[100]`."""
    key, sign, text = setting.partition("=")
    if not sign or not key:
        raise Refused(f"--set {shorten(setting)}: expected key=value")
    _set(document, key, documents.parse(text, f"--set {shorten(key)}"), f"--set {shorten(setting)}")


def _set(document: dict[str, Any], key: str, value: Any, where: str) -> None:
    if key in OWN_FACTORS and key != "target":
        raise Refused(f"{where}: unknown key; did you mean 'factors.{key}'?")
    section, _, rest = key.partition(".")
    parts = key.split(".")
    if section == "factors" and rest and not _names_a_target(document, rest):
        parts = [section, rest]
    place: Any = document
    for part in parts[:-1]:
        place = _enter(place, part, where)
    place[_position(place, parts[-1], where) if isinstance(place, list) else parts[-1]] = value


def _names_a_target(document: Mapping[str, Any], factor: str) -> bool:
    """Whether this is a setting of one target of several, and not the name of a dotted factor."""
    factors = document.get("factors")
    targets = factors.get("target") if isinstance(factors, dict) else None
    word = factor.removeprefix("target.").partition(".")[0]
    if not factor.startswith("target.") or not isinstance(targets, list):
        return False
    if word in _item_names(targets) or word in _numbers(targets):
        return True
    if factor.count(".") > 1:
        raise Refused(f"factors.target: no target {shorten(repr(word))}{nearest(word, map(str, _item_names(targets)))}")
    return False


def _enter(place: Any, part: str, where: str) -> Any:
    position: Any = part
    if isinstance(place, list):
        position = _position(place, part, where)
    else:
        place.setdefault(part, {})
    if isinstance(place[position], str):
        place[position] = {"name": place[position]}
    if not isinstance(place[position], (dict, list)):
        raise Refused(f"{where}: {shorten(part)} is not a section")
    return place[position]


def _position(items: list[Any], part: str, where: str) -> int:
    names = _item_names(items)
    if part in names:
        return names.index(part)
    if part in _numbers(items):
        return int(part)
    raise Refused(f"{where}: no item {shorten(repr(part))}{nearest(part, map(str, names))}")


def _numbers(items: list[Any]) -> list[str]:
    """Of items, as `--set` writes them; no digits of another script, and none that are too many to be read."""
    return [str(number) for number in range(len(items))]


def _item_names(items: list[Any]) -> list[Any]:
    return [item.get("label", item.get("name")) if isinstance(item, dict) else item for item in items]
