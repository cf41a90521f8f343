"""Completion of subcommands and options in a shell."""

import argparse

from study.cli.command import ELSEWHERE, Command
from study.outcomes import COMPLETE
from study.terminal import say


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="the shell to complete in")


def _print(options: argparse.Namespace) -> int:
    import shtab

    say(*shtab.complete(options.parser, shell=options.shell).split("\n"))
    return COMPLETE


COMMANDS = (
    Command(
        name="completion",
        group=ELSEWHERE,
        summary="print a script that completes words in your shell",
        add_arguments=_arguments,
        run=_print,
        examples=("completion bash >> ~/.bashrc",),
        prints=True,
    ),
)
