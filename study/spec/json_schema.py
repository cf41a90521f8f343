"""The schema of study files, as JSON Schema 2020-12, for editors."""

from typing import Any

from pydantic import TypeAdapter

from mia_core.attacks import ATTACKS
from mia_core.data import SOURCES, SPLITS
from mia_core.data.given_folders import GivenFolders
from mia_core.data.given_split import Given
from mia_core.defenses import DEFENSES
from mia_core.derived import DERIVED
from mia_core.metrics import ExtractorConfig
from mia_core.registry import Registry
from mia_core.releases import RELEASES
from mia_core.targets import TARGETS
from mia_core.training import TrainingConfig
from study.spec.factors import Range
from study.spec.family import ContrastSpec
from study.spec.release_study import FOLDERS, ReleaseSections
from study.spec.section_models import MODELS, Sections

Schema = dict[str, Any]


def schema() -> Schema:
    """Of a study file, as JSON Schema 2020-12: of a release where it has that section."""
    of_release = {"if": {"required": ["release"]}, "then": _release_study(), "else": _trained_study()}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A study", **of_release}


def _release_study() -> Schema:
    found = _of(ReleaseSections)
    places = found["properties"]
    places |= {name: _of(MODELS[name]) for name in ("quality", "controls", "audit", "compute", "policy")}
    places["release"] = _choice(RELEASES)
    records, split = (_of(config)["properties"] for config in (GivenFolders.Config, Given.Config))
    folders = {name: records[name] for name in FOLDERS}
    split["groups"] = {"anyOf": [split["groups"], records["groups"]]}
    places["data"] = _mapping({"name": {"const": "given_folders"}, **records})
    places["split"] = _mapping({"name": {"const": "given"}, **folders, **split})
    places["attacks"] = {"anyOf": [_attacks(), {"type": "null"}]}
    places["presets"] = {"type": "object", "additionalProperties": {"type": "object"}}
    return found


def _mapping(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _attacks() -> Schema:
    at = {"type": "object", "properties": {"epochs": {}, "steps": {}}, "additionalProperties": False}
    return {"type": "array", "items": _choice(ATTACKS, listed=True, label={"type": "string"}, at=at)}


def _trained_study() -> Schema:
    found = _of(Sections)
    places = found["properties"]
    places |= {name: _of(section) for name, section in MODELS.items()}
    places["quality"]["properties"]["extractor"] = _of(ExtractorConfig)
    places["data"], places["target"] = _choice(SOURCES), _target()
    places["split"] = _choice(SPLITS)
    places["split"]["anyOf"].append({"type": "object", "not": {"required": ["name"]}})  # a panel
    places["attacks"] = _attacks()
    labels = _one_or_several({"type": "string"})
    derived = _choice(DERIVED, label={"type": "string"}, base=labels)
    places["derived"] = {"anyOf": [{"type": "array", "items": derived}, {"type": "null"}]}
    places["factors"] = _factors()
    places["contrasts"] = {"type": "array", "items": {"anyOf": [{"type": "string"}, _of(ContrastSpec)]}}
    places["presets"] = {"type": "object", "additionalProperties": {"type": "object"}}
    return found


def _factors() -> Schema:
    whole = _one_or_several({"type": "integer", "minimum": 1})
    part = _choice(DEFENSES, listed=True)
    part["anyOf"].append({"const": "none"})
    levels = {"anyOf": [_of(Range), {}]}
    return {
        "type": "object",
        "properties": {
            **{name: {"anyOf": [_of(Range), whole]} for name in ("train_size", "epochs", "steps")},
            "defense": _one_or_several({"anyOf": [part, {"type": "array", "items": part}]}),
            "target": _one_or_several(_target(limited=True)),
        },
        "patternProperties": {r"^(target|training|defense\.\w+)\.\w+$": levels},
        "additionalProperties": False,
        "required": ["train_size"],
    }


def _of(model: Any) -> Schema:
    """Of a settings class; without what only resolved specs have."""
    found = TypeAdapter(model).json_schema()
    for name in ("drawn", "packaged"):
        found.get("properties", {}).pop(name, None)
    return _inlined(found, found.pop("$defs", {}))


def _inlined(value: Any, definitions: Schema) -> Any:
    if isinstance(value, dict):
        if "$ref" in value:
            return _inlined(definitions[value["$ref"].rpartition("/")[2]], definitions)
        return {key: _inlined(item, definitions) for key, item in value.items()}
    return [_inlined(item, definitions) for item in value] if isinstance(value, list) else value


def _choice(registry: Registry[Any], listed: bool = False, **more: Schema) -> Schema:
    """A name, or a mapping with a name and the settings of what it names. listed: settings may be lists of values."""
    mappings = []
    for name in registry.names():
        found = _of(registry.find(name).Config)  # type: ignore[union-attr]
        own = found.get("properties", {})
        if listed:
            own = {key: _one_or_several(value) for key, value in own.items()}
        found["properties"] = {"name": {"const": name}, **own, **more}
        found["required"] = ["name"]  # a dotted factor may give what else is required
        mappings.append(found)
    offered = registry.offered()  # by packages, of which nothing is imported: any settings
    mappings += [{"type": "object", "properties": {"name": {"const": name}, **more}} for name in offered]
    return {"anyOf": [{"enum": [*registry.names(), *offered]}, *mappings]}


def _target(limited: bool = False) -> Schema:
    """limited: as a level of the factor, which may be limited to arms; every target may have a label."""
    text: Schema = {"type": "string"}
    more: dict[str, Any] = {"arms": _one_or_several(text)} if limited else {}
    return _choice(TARGETS, label=text, training=_of(TrainingConfig), **more)


def _one_or_several(value: Schema) -> Schema:
    return {"anyOf": [value, {"type": "array", "items": value, "minItems": 1}]}
