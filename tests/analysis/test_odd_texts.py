"""Whatever a folder, an error or a setting is called: commands show it, on as many lines as they mean to, no more."""

import json
import shlex
import shutil
from datetime import UTC, datetime

import pytest

from mia_core.errors import shorten
from study.run import failures
from study.run.heartbeat import FILE
from study.store import Store, compact, read
from study.terminal import Console, one_line
from tests.commands import mia_study
from tests.hostile import TEXTS, does_nothing

READERS = {
    "check": (mia_study("store"), "check STORE"),
    "gc": (mia_study("store"), "gc STORE --older-than 0"),
    "compact": (mia_study("store"), "compact STORE"),
    "export": (mia_study("store"), "export --public STORE OUT"),
    "status": (mia_study("status"), "STORE"),
    "status for scripts": (mia_study("status"), "STORE --json"),
    "controls": (mia_study("controls"), "STORE"),
    "audit": (mia_study("audit"), "STORE"),
    "tables": (mia_study("tables"), "STORE"),
    "report": (mia_study("report"), "STORE"),
    "report elsewhere": (mia_study("report"), "STORE --out OUT.html"),
}
"""What a user types to read a study."""

REFUSED = {
    "search": (mia_study("search"), "STORE"),
    "an attack": (mia_study("tables"), "STORE --attack TEXT"),
    "figures": (mia_study("figures"), "STORE OUT --attack TEXT"),
    "a plan": (mia_study("sweep"), "TEXT --plan"),
    "a setting": (mia_study("sweep"), "--plan --set TEXT"),
    "a value": (mia_study("sweep"), "--plan --set seed=TEXT"),
    "a section": (mia_study("sweep"), "--plan --set factors.TEXT=1"),
    "a preset": (mia_study("sweep"), "--plan --preset TEXT"),
    "data": (mia_study("sweep"), "--plan --set data.root=TEXT --set data.name=image_folder"),
    "an id": (mia_study("trial"), "--id TEXT"),
    "a study's status": (mia_study("status"), "TEXT"),
    "a study's settings": (mia_study("config"), "TEXT"),
    "look-alikes": (mia_study("near-duplicates"), "--output TEXT"),
    "a cluster": (mia_study("cluster"), "check TEXT"),
    "tracking": (mia_study("track"), "TEXT"),
    "notebooks": (mia_study("notebooks"), "TEXT"),
}
"""What a user types with a text in place of what is wanted."""


NO_TEXT = TEXTS["no text"]
KINDS = {
    "markup": TEXTS["markup"],
    "controls": "".join(text for text in TEXTS.values() if text != NO_TEXT),
    "no text": NO_TEXT,
}
"""Each text alone is for `study.terminal`'s own tests; here they come all at once."""


@pytest.fixture(scope="module")
def made(make_study):
    store = make_study("replicates=2", "quality.measures=[]")
    compact(store)
    return store


@pytest.fixture
def odd(made, tmp_path, request):
    """A copy of a study in a folder of that name; a trajectory failed, and a driver told of itself, in such words."""
    text = KINDS[request.param]
    folder = shutil.copytree(made.folder, tmp_path / text.replace("\0", "") / "small")
    store = Store.at(folder)
    trajectory = read(store.root, store.study, "design")["trajectory_id"].dropna().iloc[0]
    store.save_failure(trajectory, dict.fromkeys(("trial", "error", "traceback", "command"), text))
    at = datetime.now(UTC).isoformat()
    state = {"pid": text, "started_at": at, "at": at, "queued": 1, "running": [{"trial": text, "seconds": 1.0}]}
    (folder / FILE).write_text(json.dumps(state))
    return store, text


def run(command, store, text, tmp_path, capsys):
    """Exit code and what was printed, none of which does anything."""
    main, line = command
    words = {"STORE": str(store.folder), "OUT": str(tmp_path / "out"), "TEXT": text}
    arguments = line.split()
    for word, value in words.items():
        arguments = [argument.replace(word, value) for argument in arguments]
    code = main(arguments)
    said = capsys.readouterr()
    assert does_nothing(said.out), line
    assert does_nothing(said.err), line
    return code, said


@pytest.mark.slow
@pytest.mark.parametrize("odd", KINDS, indirect=True)
def test_a_study_in_a_folder_of_any_name_is_read_by_every_command(odd, tmp_path, capsys):
    store, text = odd
    for name, command in READERS.items():
        code, said = run(command, store, text, tmp_path, capsys)
        assert code == 0, (name, said.err)
        assert said.err == ""
        if name in ("report", "status"):
            assert one_line(store.folder) in said.out


@pytest.mark.parametrize("odd", KINDS, indirect=True)
def test_what_a_failure_and_a_driver_say_is_one_line_each(odd, tmp_path, capsys):
    store, text = odd
    _, said = run(READERS["status"], store, text, tmp_path, capsys)
    lines = said.out.splitlines()
    shown = [line for line in lines if line.startswith("running:") and one_line(shorten(text)) in line]
    assert len(shown) == 1
    assert sum(line.startswith("failed:") and one_line(f"{text}: {text}") in line for line in lines) == 1
    console = Console(width=80)
    failures.show(console, store, dict.fromkeys(store.failed(), ()))
    first, where, alone = capsys.readouterr().out.splitlines()
    assert first == one_line(f"failed: {text}: {text}")
    assert where.startswith(one_line(f"  traceback: {store.uri}/failures/"))
    words = shlex.split(alone)  # never the command that the file holds
    assert words[:3] == ["alone:", "mia-study", "trial"] and words[4:] == ["--id", *store.failed()]


@pytest.mark.parametrize("odd", KINDS, indirect=True)
def test_a_text_in_place_of_what_is_wanted_is_refused_in_one_line(odd, tmp_path, capsys):
    for name, command in REFUSED.items():
        code, said = run(command, *odd, tmp_path, capsys)
        assert code == 2, name
        (line,) = said.err.splitlines()
        assert line.startswith("refused: "), name
