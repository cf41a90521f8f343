"""Docstrings as Markdown, and what a module's source says beside them."""

import ast
import inspect
import re
from dataclasses import MISSING, fields
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parent.parent
TESTS = ROOT / "tests" / "mia_core"


def docstring(owner: Any) -> str:
    """The docstring of a class, a function or a module, of its own; empty without one."""
    text = owner.__dict__.get("__doc__") if isinstance(owner, type) else owner.__doc__
    return shown(text or "")


def shown(text: str) -> str:
    """A docstring with what Markdown would read as markup left as it is written."""
    clean = inspect.cleandoc(text)
    parts = re.split(r"(`[^`]*`)", clean)
    return "".join(part if part.startswith("`") else re.sub(r"([<>*_\[\]|$])", r"\\\1", part) for part in parts)


def in_cell(text: str) -> str:
    """A docstring in one cell of a table."""
    return " ".join(shown(text).split())


def code(value: Any) -> str:
    """A value as code in a cell of a table."""
    return f"`{value}`".replace("|", "\\|")


def settings_table(config: type) -> str:
    """Name, type and default of each setting of a settings class, after what its docstring says of them."""
    found = fields(config)
    if not found:
        return "No settings."
    lines = [docstring(config), "", "| setting | type | default |", "|---|---|---|"]
    for one in found:
        default = one.default if one.default is not MISSING else None
        factory = one.default_factory
        value = code(repr(factory()) if factory is not MISSING else repr(default))
        required = one.default is MISSING and factory is MISSING
        lines.append(f"| `{one.name}` | {code(type_words(one.type))} | {'required' if required else value} |")
    return "\n".join(lines)


def type_words(kind: Any) -> str:
    """A type with its bounds, without the modules' names: `Annotated[int, Gt(gt=0)]` is `int, > 0`."""
    text = kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind)
    for name, sign in (("Gt", ">"), ("Ge", "≥"), ("Lt", "<"), ("Le", "≤")):
        text = re.sub(rf"(?:annotated_types\.)?{name}\(\w+=([^)]*)\)", rf"{sign} \1", text)
    text = re.sub(r"(?:typing|annotated_types|collections\.abc|\w+(?:\.\w+)+)\.(?=\w)", "", text)
    text = re.sub(r", (?:Before|After)Validator\(func=<[^>]*>(?:, [^()]*)?\)|, Strict\(\w+=\w+\)", "", text)
    text = re.sub(r"MinLen\(min_length=(\d+)\)", r"at least \1", text)
    inner = re.compile(r"Annotated\[((?:[^\[\]]|\[[^\[\]]*\])*)\]")
    while inner.search(text):
        text = inner.sub(r"\1", text)
    return text


def constants(module: ModuleType) -> list[tuple[str, str, str]]:
    """Name, value and words of the module's constants: those in capitals that a docstring follows."""
    body = ast.parse(inspect.getsource(module)).body
    found = []
    for line, after in pairwise(body):
        if not isinstance(after, ast.Expr) or not isinstance(after.value, ast.Constant):
            continue
        target = line.targets[0] if isinstance(line, ast.Assign) else getattr(line, "target", None)
        if isinstance(target, ast.Name) and target.id.isupper() and isinstance(after.value.value, str):
            found.append((target.id, ast.unparse(line.value), after.value.value))  # type: ignore[attr-defined]
    return found


def tests_of(module: ModuleType) -> list[tuple[str, str]]:
    """File and words of each test that is named for a module: what it is held to."""
    name = module.__name__.rpartition(".")[2]
    path = TESTS / f"test_{name}.py"
    if not path.exists():
        return []
    names = [line.name for line in ast.parse(path.read_text()).body if isinstance(line, ast.FunctionDef)]
    return [(path.relative_to(ROOT).as_posix(), one[5:].replace("_", " ")) for one in names if one.startswith("test_")]
