"""The command line, from its parser: every command with its help."""

import argparse
import os
from unittest.mock import patch

from study.cli.main import build


def command_page() -> str:
    """Every command, as its `--help` prints it at 100 columns."""
    with patch.dict(os.environ, {"COLUMNS": "100", "NO_COLOR": "1"}):
        parser = build()
        lines = ["# Commands", "", "`mia-study` is one command; `python -m study.sweep` is `mia-study sweep`.", ""]
        lines += ["```text", parser.format_help().rstrip(), "```", ""]
        for name, command in _commands(parser, "mia-study"):
            lines += [f"## `{name}`", "", "```text", command.format_help().rstrip(), "```", ""]
    return "\n".join(lines)


def _commands(parser: argparse.ArgumentParser, name: str) -> list[tuple[str, argparse.ArgumentParser]]:
    """Commands below a parser, with those of two words."""
    found = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, below in action.choices.items():
                deeper = _commands(below, f"{name} {word}")
                found += deeper or [(f"{name} {word}", below)]
    return found
