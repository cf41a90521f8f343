"""Commands that judge a study from its store: controls, the audit of private arms, a search."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from study.cli.arguments import add_folder
from study.cli.command import JUDGE, Command
from study.outcomes import COMPLETE, INCOMPLETE

if TYPE_CHECKING:
    import pandas as pd

    from study.store import Store


def _controls(options: argparse.Namespace) -> int:
    from study.verdicts.controls import nothing, verdicts

    return _print_verdicts(options.folder, verdicts, nothing)


def _audit(options: argparse.Namespace) -> int:
    from study.verdicts.claims import notes, nothing, verdicts

    return _print_verdicts(options.folder, verdicts, nothing, notes)


def _print_verdicts(
    folder: str,
    verdicts: Callable[..., "pd.DataFrame"],
    nothing: "Callable[[Store], str]",
    notes: "Callable[[Store], list[str]] | None" = None,
) -> int:
    """A table of verdicts, and notes below one that has rows; else why it has none."""
    from study.store import Store
    from study.terminal import say
    from study.verdicts.controls import show

    store = Store.at(folder)
    table = verdicts(store.root, store.study)
    if table.empty:
        say(nothing(store))
        return COMPLETE
    sound = show(table)
    for sentence in notes(store) if notes else ():
        say(sentence)
    return COMPLETE if sound else INCOMPLETE


def _search_arguments(parser: argparse.ArgumentParser) -> None:
    add_folder(parser)
    text = "print a study of one point under another seed, which the search has not seen"
    parser.add_argument("--confirm", type=int, metavar="POINT", help=text)


def _search(options: argparse.Namespace) -> int:
    import json

    from study.run.search import confirmation, show
    from study.store import Store
    from study.terminal import Console, say

    store = Store.at(options.folder)
    if options.confirm is None:
        show(Console(), store)
    else:
        say(*json.dumps(confirmation(store, options.confirm), indent=2).split("\n"))
    return COMPLETE


COMMANDS = (
    Command(
        name="controls",
        group=JUDGE,
        summary="what a study's controls say",
        add_arguments=add_folder,
        run=_controls,
        details="A blind classifier that sees no target, null targets trained without the queries, a copycat that "
        "replays its records. All p-values of a study are one family (Holm 1979), so that a sound study raises "
        "a false alarm in at most 5 % of cases.",
        examples=("controls results/digits",),
        codes="exit codes:\n  0  no control failed\n  1  one did\n  2  refused",
        prints=True,
    ),
    Command(
        name="audit",
        group=JUDGE,
        summary="whether private arms keep what their epsilon claims",
        add_arguments=add_folder,
        run=_audit,
        details="Attacks guess the fair coins by which records were put into training sets; where a study's split has "
        "no fair coins, the command says that there is nothing to audit. A study whose claims hold is contradicted in "
        "at most 5 % of cases.",
        examples=("audit results/privacy_digits",),
        codes="exit codes:\n  0  no claim is contradicted\n  1  one is\n  2  refused",
        prints=True,
    ),
    Command(
        name="search",
        group=JUDGE,
        summary="the best points of a search, and a study that confirms one",
        add_arguments=_search_arguments,
        run=_search,
        examples=("search results/search_digits", "search results/search_digits --confirm 3 > confirm.json"),
        prints=True,
    ),
)
