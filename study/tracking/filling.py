"""MLflow again, or anew, from a study's store alone."""

from study.outcomes import COMPLETE, INCOMPLETE
from study.spec.locations import tracking_uri
from study.store import Done, Store, read
from study.store.seals import SWEPT
from study.terminal import say
from study.tracking.addresses import public
from study.tracking.tracker import Tracker


def run(folder: str, tracking: str, include_records: bool, experiment: str | None) -> int:
    """Fill in what is missing; the exit code. tracking: where to. experiment: None for that of the last sweep."""
    uri = tracking_uri(tracking)
    store = Store.at(folder)
    experiment = experiment or store.pointer().get(SWEPT, {}).get("experiment")
    complete = _complete(store)
    with store.lock():
        tracker = Tracker(store, uri, _warn, include_records, experiment)
        tracker.reconcile()
        tracker.close(complete)
    if tracker.behind:
        return INCOMPLETE
    trials = sum(done.train for done in store.done().values())
    say(f"{trials} trials of {store.study} are in {public(tracking)}")
    return COMPLETE


def _warn(line: str) -> None:
    say(f"warning: {line}", stderr=True)


def _complete(store: Store) -> bool:
    """Whether all that the current design wants is sealed; ValueError when there is no such study."""
    done = store.done()
    for row in read(store.root, store.study, "design").to_dict("records"):
        have = done.get(row["trial_id"], Done())
        ids = {"trial": {row["trial_id"]} if have.train else set(), "attack": have.attacks, "measure": have.measures}
        if row["id"] not in ids.get(row["kind"], {row["id"]}):
            return False
    return True
