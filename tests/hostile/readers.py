"""All that reads a store, and how it says no."""

from types import SimpleNamespace

from study.store import Damaged
from study.tracking.tracker import Tracker
from tests.commands import mia_study

notebooks, report, store_command = mia_study("notebooks"), mia_study("report"), mia_study("store")


class Client:
    """MLflow, as far as a tracker asks it; keeps what it is given."""

    def __init__(self):
        self.given = []

    def __getattr__(self, name):
        def took(*arguments, **named):
            self.given.append((name, arguments, named))
            return SimpleNamespace(info=SimpleNamespace(run_id="run"))

        return took


def track(store):
    """What a tracker makes of every trial, with a server that takes anything."""
    said = []
    tracker = Tracker(store, "http://127.0.0.1:1", said.append)
    tracker._client, tracker._experiment, tracker._parent, tracker._runs = Client(), "1", "parent", {}
    tracker._has_data = False
    given = tracker._client.given
    try:
        tracker._catch_up()
        tracker._find_parent(tracker._client)
    except (Damaged, ValueError) as error:
        said.append(f"refused: {error}")
    return (2 if said else 0), "\n".join(said[:1]), given


def plan(store):
    """Of the spec that a store has."""
    specs = [path for path in store.folder.glob("specs/*.json") if path.stem.isalnum()]
    spec = specs[0] if specs else store.folder / "specs" / "none.json"
    return mia_study("sweep")([str(spec), "--plan", "--set", f"results={store.root}"])


READERS = {
    "report": lambda store: report([str(store.folder)]),
    "tables": lambda store: mia_study("tables")([str(store.folder)]),
    "figures": lambda store: mia_study("figures")([str(store.folder), str(store.folder / "pictures")]),
    "notebooks": lambda store: notebooks([str(store.folder)]),
    "status": lambda store: mia_study("status")([str(store.folder)]),
    "check": lambda store: store_command(["check", str(store.folder)]),
    "controls": lambda store: mia_study("controls")([str(store.folder)]),
    "audit": lambda store: mia_study("audit")([str(store.folder)]),
    "plan": plan,
}
ASKED = (*READERS, "track")


def answer(reader, store, capsys):
    """Exit code and what was printed; any exception is a failure."""
    if reader == "track":
        code, said, _ = track(store)
        return code, said
    capsys.readouterr()
    code = READERS[reader](store)
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def refuses(reader, store, capsys):
    """Whether a reader says no: in one line, without control characters; `check` with a line of damage."""
    code, said = answer(reader, store, capsys)
    if reader == "check":
        lines = [line for line in said.splitlines() if line.startswith("DAMAGED")]
        assert code == bool(lines)
        assert all(line.isprintable() for line in lines)
        return code == 1
    if code != 2:
        return False
    lines = [line for line in said.splitlines() if line]
    assert len(lines) == 1 and lines[0].isprintable() and len(lines[0]) < 1000, lines
    return True
