"""`mia-study store COMMAND ROOT/STUDY`: check a store, free its garbage, compact it, copy what may be public.

Exit code 0: done, and for `check` all is whole. 1: `check` found damage. 2: refused.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from study.machine import leave_with_the_reader
from study.store.checking import check
from study.store.collecting import HOURS, collect, garbage
from study.store.compacting import compact
from study.store.exporting import export_public
from study.store.files import Damaged
from study.store.passes import Store
from study.store.roots import WHERE

WHOLE, DAMAGED, REFUSED = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    options = _parser().parse_args(arguments)
    command = {"check": _check, "gc": _gc, "compact": _compact, "export": _export}[options.command]
    try:
        return command(Store.at(options.folder), options)
    except (ValueError, Damaged) as error:
        print(f"refused: {error}", file=sys.stderr)
    except OSError as error:
        print(f"refused: {error.filename or options.folder}: {error.strerror or error}", file=sys.stderr)
    return REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mia-study store", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    words = {
        "check": "verify every sealed file; changes nothing",
        "gc": "remove what no marker names",
        "compact": "put all sealed passes into one file a table",
        "export": "copy a study without scores, targets and samples",
    }
    added = {}
    for name, text in words.items():
        added[name] = commands.add_parser(name, help=text, description=text)
        added[name].add_argument("folder", help=WHERE)
    added["gc"].add_argument("--dry-run", action="store_true", help="list what would be removed, with sizes")
    text = f"spare younger files, which a worker elsewhere may still be writing (default: {HOURS:g})"
    added["gc"].add_argument("--older-than", type=float, default=HOURS, metavar="HOURS", help=text)
    added["export"].add_argument("--public", action="store_true", help="required: what is left out may not be copied")
    added["export"].add_argument("out", help="a folder that is absent or empty")
    return parser


def _check(store: Store, options: argparse.Namespace) -> int:
    found = check(store)
    for line in store.warnings():
        print(f"warning: {line}")
    for damage in found.damages:
        print(f"DAMAGED {damage.file}: {damage.what}\n        {damage.way_out}")
    print(f"{found.files} files verified, {found.bytes} bytes; {len(found.damages)} damaged")
    if found.garbage is None:
        print("unsealed files are not counted while markers are damaged")
    else:
        print(f"{found.garbage} unsealed files, {found.garbage_bytes} bytes")
    return DAMAGED if found.damages else WHOLE


def _gc(store: Store, options: argparse.Namespace) -> int:
    store.pointer()
    older_than = store.place.now() - int(options.older_than * 3600e9)
    if options.dry_run:
        items = garbage(store)
        old = [item for item in items if item.modified < older_than]
        for item in old:
            print(f"{item.bytes:12} {item.file}  ({item.why})")
        verb, young = "would be freed", len(items) - len(old)
    else:
        with store.lock():
            old, young = collect(store, older_than)
        verb = "freed"
    print(f"{sum(item.bytes for item in old)} bytes {verb} in {len(old)} files")
    if young:
        print(f"{young} more are younger than {options.older_than:g} hours")
    return WHOLE


def _compact(store: Store, options: argparse.Namespace) -> int:
    store.pointer()
    with store.lock():
        print(f"{compact(store)} passes compacted")
    return WHOLE


def _export(store: Store, options: argparse.Namespace) -> int:
    if not options.public:
        raise ValueError(
            "export: only --public copies are made; a whole one, with scores and targets, is for cp -a, then check"
        )
    if "://" in options.out:
        raise ValueError(f"{options.out}: export writes a folder of this machine; copy that to where it shall be")
    print(f"{export_public(store, Path(options.out))} passes, without scores, targets and samples: {options.out}")
    return WHOLE


if __name__ == "__main__":
    leave_with_the_reader()
    sys.exit(main())
