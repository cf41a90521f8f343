"""Commands that keep a store: check it, free its garbage, compact it, copy what may be public, or all as flat files."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from mia_core.errors import Refused
from study.cli.arguments import add_folder, add_include_records, number
from study.cli.command import KEEP, READ, Command
from study.outcomes import COMPLETE, INCOMPLETE
from study.terminal import say

if TYPE_CHECKING:
    from study.store.passes import Store

HOURS = 24.0


def _gc_arguments(parser: argparse.ArgumentParser) -> None:
    add_folder(parser)
    parser.add_argument("--dry-run", action="store_true", help="list what would be removed, with sizes")
    text = f"spare younger files, which a worker elsewhere may still be writing (default: {HOURS:g})"
    parser.add_argument("--older-than", type=number(" of hours", 0), default=HOURS, metavar="HOURS", help=text)


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--public", action="store_true", help="required: what is left out may not be copied")
    add_folder(parser)
    parser.add_argument("out", metavar="OUT", help="a folder that is absent or empty")


def _check(options: argparse.Namespace) -> int:
    from study.store.passes import Store
    from study.store.verifying import check

    store = Store.at(options.folder)
    found = check(store)
    for line in store.warnings():
        say(f"warning: {line}")
    for damage in found.damages:
        say(f"DAMAGED {damage.file}: {damage.what}", f"        {damage.way_out}")
    for file in found.aside:
        say(f"set aside: {file} is damaged, and other passes have sealed its work; `{_gc_command(store)}` removes it")
    for file in found.outdated:
        say(
            f"set aside: {file} is of a training that was done again since; the study's own sweep command does what is "
            f"missing on the new one, and `{_gc_command(store)}` removes it"
        )
    for file in found.strays:
        say(f"stray: {file} is no file of a study, and no reader looks at it; another program's copy? remove it")
    say(f"{found.files} files verified, {found.bytes} bytes; {len(found.damages)} damaged")
    if found.garbage is None:
        say("unsealed files are not counted while markers are damaged")
    else:
        say(f"{found.garbage} unsealed files, {found.garbage_bytes} bytes")
    return INCOMPLETE if found.damages else COMPLETE


def _gc_command(store: "Store") -> str:
    return shlex.join(["mia-study", "store", "gc", store.uri])


def _gc(options: argparse.Namespace) -> int:
    from study.store.collecting import collect, garbage
    from study.store.passes import Store

    store = Store.at(options.folder)
    store.pointer()
    older_than = store.place.now() - int(options.older_than * 3600e9)
    if options.dry_run:
        items = garbage(store)
        old = [item for item in items if item.modified < older_than]
        for item in old:
            say(f"{item.bytes:12} {item.file}  ({item.why})")
        verb, young = "would be freed", len(items) - len(old)
    else:
        with store.lock():
            old, young = collect(store, older_than)
        verb = "freed"
    say(f"{sum(item.bytes for item in old)} bytes {verb} in {len(old)} files")
    if young:
        say(f"{young} more are younger than {options.older_than:g} hours")
    return COMPLETE


def _compact(options: argparse.Namespace) -> int:
    from study.store.compacting import compact
    from study.store.passes import Store

    store = Store.at(options.folder)
    store.pointer()
    with store.lock():
        say(f"{compact(store)} passes compacted")
    return COMPLETE


def _export(options: argparse.Namespace) -> int:
    from study.store.exporting import NOTICE, export_public
    from study.store.noise import GUESSABLE, noise_from_seed
    from study.store.passes import Store

    store = Store.at(options.folder)
    if not options.public:
        raise Refused(
            "export: only --public copies are made; a whole one, with scores and targets, is for cp -a, then check"
        )
    passes = export_public(store, Path(options.out))
    say(f"{passes} passes, without scores, targets and samples: {options.out}; see its {NOTICE}")
    if noise_from_seed(Store.at(options.out)):
        say(GUESSABLE)
    return COMPLETE


def _flat_arguments(parser: argparse.ArgumentParser) -> None:
    add_folder(parser)
    parser.add_argument("out", metavar="OUT", help="the folder to put the files in")
    parser.add_argument("--csv", action="store_true", help="CSV files too")
    add_include_records(parser, "with scores, a row per record")


def _flat(options: argparse.Namespace) -> int:
    from study.outcomes import writing
    from study.store.flat import SCORES, export_flat
    from study.store.passes import Store

    store, out = Store.at(options.folder), Path(options.out)
    with writing(out):
        written = export_flat(store, out, options.include_records, options.csv)
    for table, rows in written.items():
        say(f"{out / table}.parquet: {rows} rows")
    if SCORES not in written:
        say("scores are left out, for they are of single records; --include-records writes them too")
    return COMPLETE


COMMANDS = (
    Command(
        name="export",
        group=READ,
        summary="write one flat Parquet file (and CSV) per table",
        add_arguments=_flat_arguments,
        run=_flat,
        details="For pandas, polars, DuckDB, R and spreadsheets: rows of the current design, each once, with one "
        "schema per table; `wide` has a row per trial and attack. docs/store.md has lines for three of them.",
        examples=("export results/digits flat", "export results/digits flat --csv --include-records"),
    ),
    Command(
        name="store check",
        group=KEEP,
        summary="verify every sealed file of a store",
        add_arguments=add_folder,
        run=_check,
        details="Changes nothing; says what brings a damaged file back.",
        examples=("store check results/digits",),
        codes="exit codes:\n  0  all is whole\n  1  something is damaged\n  2  refused",
        prints=True,
    ),
    Command(
        name="store gc",
        group=KEEP,
        summary="remove what no sealed pass names",
        add_arguments=_gc_arguments,
        run=_gc,
        examples=("store gc results/digits --dry-run", "store gc results/digits --older-than 48"),
        prints=True,
    ),
    Command(
        name="store compact",
        group=KEEP,
        summary="put all sealed passes into one file per table",
        add_arguments=add_folder,
        run=_compact,
        details="Readers are faster then; nothing that is read changes. Every sweep ends with it.",
        examples=("store compact results/digits",),
    ),
    Command(
        name="store export",
        group=KEEP,
        summary="copy a study without scores, targets and samples",
        add_arguments=_export_arguments,
        run=_export,
        examples=("store export --public results/digits public",),
    ),
)
