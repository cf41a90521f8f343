"""YAML as a study or a cluster file may use it: no duplicate keys, `1e-4` is a number, `no` is a word, nothing else.

A tag could make a value what it does not look like, and aliases make a few lines fill the memory: neither is allowed,
and size, depth and number of values are limited, so that no file takes long to refuse.
"""

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from mia_core.errors import Refused, shorten
from mia_core.opening import read_regular
from mia_core.plain_json import LARGEST, parse_json
from study.store.files import Damaged
from study.store.places import JSON_BYTES
from study.store.roots import read_bytes

YAML_BYTES = 128 * 2**10
VALUES = 5000
DEPTH = 50


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's idea of numbers and booleans."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  pyyaml's own, per class

    def __init__(self, text: str, for_ray: bool = False) -> None:
        super().__init__(text)
        self._for_ray = for_ray
        self._values = self._depth = 0

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                raise _refused("keys must be plain words", key)
            if key.value in seen:
                raise _refused(f"duplicate key {shorten(repr(key.value))}", key)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise _refused("anchors and aliases are not allowed", event)
        if event.tag is not None:
            raise _refused(f"tags are not allowed, and here is {shorten(event.tag)}", event)
        self._values += 1
        if self._values > VALUES:
            raise _refused(f"more than {VALUES} values are allowed only in JSON, in a file named .json", event)
        if self._depth == DEPTH:
            raise _refused(f"more than {DEPTH} levels are not allowed", event)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if self._for_ray and isinstance(event, yaml.ScalarEvent) and event.implicit[0]:
            self._require_same_in_yaml_1_1(event, node)
        return node

    def _require_same_in_yaml_1_1(self, event: yaml.ScalarEvent, node: Any) -> None:
        if _YAML_1_1.resolve(yaml.ScalarNode, event.value, event.implicit) != node.tag:
            word = shorten(event.value)
            raise _refused(f"Ray, by YAML 1.1, takes {word} for another value; quote it, or write it otherwise", event)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > 20 or abs(int(node.value)) >= LARGEST:
            raise _refused(f"{shorten(node.value)} is too large a number", node)
        return int(node.value)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        value = float(node.value)
        if math.isinf(value):
            raise _refused(f"{shorten(node.value)} is too large a number", node)
        return value


def _refused(problem: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?((0|[1-9][0-9]*)?\.[0-9]+|(0|[1-9][0-9]*)\.?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("null", r"null|Null|NULL|~|", ["n", "N", "~", ""]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)
_YAML_1_1 = yaml.SafeLoader("")


def parse(text: str, where: str, for_ray: bool = False) -> Any:
    """The one document in `text`; ValueError with line and column.

    for_ray: refuse words that Ray would take for something else, such as `no`, `010` or `12:30`.
    """
    if len(text) > YAML_BYTES:
        raise Refused(f"{where}: has {len(text)} characters, and may have {YAML_BYTES}")
    try:
        return _Loader(text, for_ray).get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        raise Refused(f"{place}: {error.problem or 'not valid YAML'}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise Refused(f"{where}: not valid YAML: {str(error).splitlines()[0]}") from None


def load(path: str | Path, for_ray: bool = False) -> dict[str, Any]:
    """The mapping in a file, of JSON where its name ends so; ValueError when it cannot be read."""
    is_json = str(path).endswith(".json")  # a design that draws has too many values for YAML
    most = JSON_BYTES if is_json else YAML_BYTES
    try:
        text = (read_bytes(str(path), most) if "://" in str(path) else read_regular(path, most)).decode()
    except (OSError, Damaged, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise Refused(f"{path}: cannot be read: {why}; name a file that can") from None
    document = _of_json(text, str(path)) if is_json else parse(text, str(path), for_ray)
    if not isinstance(document, dict):
        raise Refused(f"{path}: expected keys and values at the top level")
    return document


def _of_json(text: str, where: str) -> Any:
    try:
        return parse_json(text, _unique)
    except ValueError as error:
        raise Refused(f"{where}: not valid JSON: {error}") from None


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise Refused(f"duplicate key {shorten(repr(key))}")
        found[key] = value
    return found
