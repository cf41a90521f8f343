"""`mia-study`: one command, whose subcommands are all that this project does."""

import argparse
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from functools import cache, partial
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any, NoReturn

from mia_core.errors import Refused
from mia_core.paths import expanded_text
from study.cli import completion, deploying, installed, judging, keeping, launching, watching
from study.cli.arguments import own_study
from study.cli.command import GROUPS, Command
from study.outcomes import CODES, REFUSED, outcome
from study.search_path import leave_working_folder
from study.signals import keep_to_owner, leave_with_the_reader, terminate_in_order

ENTRY_POINTS = "mia_study.commands"
"""Under this name a package registers functions that give commands of its own, as analysis does."""

ABOUT = "How much does a generative model leak about its training records, and what changes that?"
START = """examples:
  mia-study sweep                    run the study of configs/digits.yaml
  mia-study sweep my.yaml --plan     what it would run, and what that takes
  mia-study report results/digits    the answer, as one page
  mia-study COMMAND --help           what a command takes, with examples"""


def script() -> int:
    """`mia-study`; the exit code."""
    return main(sys.argv[1:], process=True)


def main(given: Sequence[str], process: bool = False) -> int:
    """Parse the words of a command line, run; the exit code. process: its signals are this command's own."""
    parser = build()
    if not given:
        parser.print_help(sys.stderr)
        return REFUSED
    options = parser.parse_args(with_values(given))
    command: Command = options.command
    if process:
        leave_working_folder()
        keep_to_owner()
        terminate_in_order()
        if command.prints:
            leave_with_the_reader()
    return outcome(partial(_run, command, options))


OPTION, PAIR = re.compile(r"--[a-z-]+"), re.compile(r"-\d[\d.]*,\d[\d.]*")
"""Words of a command line: an option without a value, and two numbers of which the first is negative."""


def with_values(words: Sequence[str]) -> list[str]:
    """`--range -1,1` as `--range=-1,1`: argparse takes a word with a minus that is no number for an option."""
    joined: list[str] = []
    for word in words:
        if PAIR.fullmatch(word) and joined and OPTION.fullmatch(joined[-1]):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


RECORDS = ("members", "non_members", "reference", "groups")
GIVEN = ("samples", "onnx", "denoiser", "schedule", "weights", *RECORDS, "policy", "write_policy")
"""Arguments of a release that are paths; its schedule may be a name."""
LOCAL = ("images", "out", "output", *GIVEN)
"""Arguments that are paths of this machine."""
PATHS = ("config", "file", "folder", "results", "study", *LOCAL)
"""Arguments that are paths, or URIs."""
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""How an address begins, of which a `Path` keeps one slash."""
STUDIES = ("config", "study")
"""Those that may name a study file."""


def _run(command: Command, options: argparse.Namespace) -> int:
    """With `~` and variables of paths replaced, which no shell does in `--out=~/x` or between quotes."""
    for name in PATHS:
        given = getattr(options, name, None)
        if isinstance(given, str | Path):
            path = type(given)(expanded_text(str(given), "all"))
            if name in LOCAL and ADDRESS.match(str(path)) and not Path(path).exists():
                raise Refused(f"{given}: is no file or folder of this machine; name one, and copy it from or to there")
            setattr(options, name, type(given)(own_study(str(path))) if name in STUDIES else path)
    return command.run(options)


@cache
def build() -> argparse.ArgumentParser:
    """The parser of all commands; each puts its `Command` into `command` of what is parsed."""
    found = sorted(_commands(), key=lambda command: GROUPS.index(command.group))
    parser = _Parser(prog="mia-study", usage="mia-study COMMAND ...", description=ABOUT, epilog=_epilog(found))
    parser.add_argument("--version", action="version", version=f"mia-study {version('mia-study')}")
    parsers = parser.add_subparsers(dest="word", required=True, metavar="COMMAND", prog="mia-study")
    nested: dict[str, argparse._SubParsersAction[_Parser]] = {}
    for command in found:
        first, _, second = command.name.partition(" ")
        place = parsers
        if second:
            if first not in nested:
                family = [other for other in found if other.name.startswith(f"{first} ")]
                usage = f"mia-study {first} COMMAND ..."
                above = parsers.add_parser(first, help=f"commands on a {first}", usage=usage, epilog=_listing(family))
                nested[first] = above.add_subparsers(
                    dest="second", required=True, metavar="COMMAND", prog=f"mia-study {first}"
                )
            place = nested[first]
        own = place.add_parser(
            second or first, help=command.summary, description=_description(command), epilog=_details(command)
        )
        command.add_arguments(own)
        own.set_defaults(command=command, parser=parser)
    return parser


def _commands() -> Iterator[Command]:
    for module in (launching, installed, watching, judging, keeping, deploying, completion):
        yield from module.COMMANDS
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        yield from point.load()


class _Formatter(argparse.HelpFormatter):
    """Fills paragraphs, and leaves lines that begin with a blank, and those above them, as they are.

    Commands are listed by group below, not where argparse lists them.
    """

    def add_argument(self, action: argparse.Action) -> None:
        if not isinstance(action, argparse._SubParsersAction):
            super().add_argument(action)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        parts = [part if "\n " in part else textwrap.fill(" ".join(part.split()), width) for part in text.split("\n\n")]
        return "\n\n".join(parts)


class _Parser(argparse.ArgumentParser):
    def __init__(self, **words: Any) -> None:
        super().__init__(formatter_class=_Formatter, allow_abbrev=False, **words)

    def error(self, message: str) -> NoReturn:
        """As argparse does; where a value begins with `-`, with how it is given."""
        alone = re.fullmatch(r"argument (--[a-z-]+): expected one argument", message)
        super().error(f"{message}; one that begins with - is given as {alone[1]}=..." if alone else message)

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """Of an option's one value that is `--`, too, which argparse of Python 3.11 makes an empty list of."""
        if action.option_strings and action.nargs is None and arg_strings == ["--"]:
            value = self._get_value(action, "--")
            self._check_value(action, value)
            return value
        return super()._get_values(action, arg_strings)


def _epilog(commands: Sequence[Command]) -> str:
    parts = []
    for group in GROUPS:
        of_group = [command for command in commands if command.group == group]
        if of_group:
            parts.append("\n".join([f"{group}:", _listing(of_group)]))
    return "\n\n".join([*parts, START, CODES])


def _listing(commands: Sequence[Command]) -> str:
    return "\n".join(f"  {command.name:17}{command.summary}" for command in commands)


def _description(command: Command) -> str:
    summary = f"{command.summary[0].upper()}{command.summary[1:]}."
    return f"{summary}\n\n{command.details}" if command.details else summary


def _details(command: Command) -> str:
    examples = "\n".join(["examples:", *(f"  mia-study {line}" for line in command.examples)])
    return f"{examples}\n\n{command.codes}" if command.examples else command.codes
