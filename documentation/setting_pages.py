"""The study file: every section with its settings, and the JSON schema."""

import json
from dataclasses import is_dataclass

from documentation.docstrings import docstring, settings_table
from mia_core.data import SOURCES, SPLITS
from mia_core.registry import Registry
from mia_core.releases import RELEASES
from study.spec.json_schema import schema
from study.spec.section_models import MODELS, Sections


def study_file_page() -> str:
    """Sections, what is chosen by name, and the schema."""
    lines = [
        "# The study file",
        "",
        "A study is one YAML file. [Study files](../studies.md) explains it; this page has every setting. "
        "`mia-study config CONFIG` prints a study with its defaults, `mia-study config --schema` the JSON schema.",
        "",
        "## The whole file",
        "",
        settings_table(Sections) if is_dataclass(Sections) else docstring(Sections),
        "",
    ]
    for name, model in MODELS.items():
        lines += [f"## `{name}`", "", settings_table(model), ""]
    for title, registry in (("data", SOURCES), ("split", SPLITS), ("release", RELEASES)):
        lines += [f"## `{title}`", "", "One of:", "", *_choices(registry)]
    lines += ["Targets, attacks and defenses have [pages](targets.md) [of their](attacks.md) [own](defenses.md).", ""]
    lines += ["## JSON schema", "", "[study.schema.json](study.schema.json), for editors that check YAML.", ""]
    return "\n".join(lines)


def schema_file() -> str:
    """The schema of study files."""
    return json.dumps(schema(), indent=1) + "\n"


def _choices(registry: Registry) -> list[str]:
    lines = []
    for name in registry.names():
        cls = registry.find(name)
        assert cls
        lines += [f"### `{registry.kind}: {name}`", "", docstring(cls), "", settings_table(cls.Config), ""]
    return lines
