"""`mia-study track ROOT/STUDY [--tracking URI]`: MLflow again, from a study's store alone.

Any tracking URI will do, filled or empty: what is there already is found and left as it is. Exit code 0: MLflow has
all that is sealed. 1: it does not, and the same command goes on. 2: refused.
"""

import argparse
import sys
from collections.abc import Sequence

from study.machine import keep_to_owner
from study.spec.study_file import TRACKING
from study.store import Away, Damaged, Done, Store, read
from study.store.roots import WHERE
from study.sweep import COMPLETE, INCOMPLETE, REFUSED, add_tracking_argument
from study.tracking.tracker import Tracker, public


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill in what is missing; the exit code."""
    parser = argparse.ArgumentParser(prog="mia-study track", description=__doc__.splitlines()[0])
    parser.add_argument("folder", help=WHERE)
    parser.add_argument("--tracking", default=TRACKING, metavar="URI", help=f"where to (default: {TRACKING})")
    add_tracking_argument(parser)
    options = parser.parse_args(arguments)
    try:
        store = Store.at(options.folder)
        complete = _complete(store)
        with store.lock():
            tracker = Tracker(store, options.tracking, _warn, options.include_records)
            tracker.reconcile()
            tracker.close(complete)
    except (ValueError, Damaged, Away) as error:
        print(f"refused: {error}", file=sys.stderr)
        return REFUSED
    if tracker.behind:
        return INCOMPLETE
    trials = sum(done.train for done in store.done().values())
    print(f"{trials} trials of {store.study} are in {public(options.tracking)}")
    return COMPLETE


def _warn(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr)


def _complete(store: Store) -> bool:
    """Whether all that the current design wants is sealed; ValueError when there is no such study."""
    done = store.done()
    for row in read(store.root, store.study, "design").to_dict("records"):
        have = done.get(row["trial_id"], Done())
        ids = {"trial": {row["trial_id"]} if have.train else set(), "attack": have.attacks, "measure": have.measures}
        if row["id"] not in ids.get(row["kind"], {row["id"]}):
            return False
    return True


if __name__ == "__main__":
    keep_to_owner()
    sys.exit(main())
