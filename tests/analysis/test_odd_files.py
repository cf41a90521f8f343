"""What lies in place of a study's file, if somebody else may write there: nothing waits, and no link leads out."""

import json
import shutil

import matplotlib.pyplot as plt
import pytest

from analysis import figures
from study.run import heartbeat
from study.store import Store, compact, read
from study.store.outputs import write_output
from study.tracking.addresses import alone_at
from study.tracking.tracker import REPORT
from tests.commands import mia_study
from tests.hostile import FILES as ODD

pytestmark = pytest.mark.timeout(120)  # a pipe or a device that is read would never end

KINDS = (
    "study.json", "specs/*.json", "design/*.parquet", "done/*.json", "trials/*.parquet", "scores/*.parquet",
    "targets/*.safetensors", "compacted/*.json", "compacted/scores-*.parquet", "failures/x.json",
    "reports/report.html", heartbeat.FILE, ".lock",
)  # fmt: skip
"""One of each kind."""

CHEAP = {
    "check": (mia_study("store"), ["check", "STORE"]),
    "status": (mia_study("status"), ["STORE"]),
    "garbage": (mia_study("store"), ["gc", "--dry-run", "STORE"]),
    "export": (mia_study("store"), ["export", "--public", "STORE", "OUT"]),
    "compact": (mia_study("store"), ["compact", "STORE"]),
    "collect": (mia_study("store"), ["gc", "STORE", "--older-than", "0"]),
}
DEAR = {
    "controls": (mia_study("controls"), ["STORE"]),
    "tables": (mia_study("tables"), ["STORE"]),
    "report": (mia_study("report"), ["STORE"]),
}


@pytest.fixture(scope="module")
def made(make_study):
    return prepared(make_study("replicates=2", "quality.measures=[]"))


@pytest.fixture(scope="module")
def least(make_study):
    """Of one replicate, which has a file of each kind, too."""
    return prepared(make_study("replicates=1", "quality.measures=[]"))


def prepared(store):
    compact(store)
    store.save_failure("x", {"trial": "x", "error": "x", "command": "x"})
    store.save_report(REPORT, b"<p>an earlier report")
    heartbeat.beat(store, {"at": "2026-01-01T00:00:00+00:00", "queued": 0})
    with store.lock():
        pass
    return store


def replaced(made, tmp_path, pattern, kind):
    """A copy of a study with something odd in place of a file, which lies outside now; that file's folder there."""
    store = Store.at(shutil.copytree(made.folder, tmp_path / "in" / "small"))
    path = sorted(store.folder.glob(pattern))[0]
    outside = tmp_path / "outside"
    outside.mkdir()
    path.rename(outside / path.name)
    ODD[kind](path, outside / path.name)
    return store, path, outside


def state(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_mode) for path in folder.iterdir()}


def run(commands, store, tmp_path, capsys):
    """Exit codes and what was printed, by command."""
    found = {}
    words = {"STORE": str(store.folder), "OUT": str(tmp_path / "out")}
    for name, (main, arguments) in commands.items():
        code = main([words.get(argument, argument) for argument in arguments])
        said = capsys.readouterr()
        assert code in (0, 1, 2)
        assert all(line.startswith(("refused: ", "warning: ")) for line in said.err.splitlines()), said.err
        found[name] = code, said.out + said.err
    return found


@pytest.mark.long
@pytest.mark.parametrize("pattern", KINDS)
@pytest.mark.parametrize("kind", ODD)
def test_nothing_waits_or_leaves_the_store_and_nothing_outside_changes(kind, pattern, least, tmp_path, capsys):
    store, path, outside = replaced(least, tmp_path, pattern, kind)
    before = state(outside)
    found = run(CHEAP, store, tmp_path, capsys)
    assert state(outside) == before
    if pattern not in ("failures/x.json", "reports/report.html", heartbeat.FILE, ".lock"):
        code, said = found["check"]
        assert code, said
        assert path.name in said


@pytest.mark.long
@pytest.mark.parametrize(
    "pattern", ["study.json", "trials/*.parquet", "compacted/trials-*.parquet", "reports/report.html"]
)
@pytest.mark.parametrize(
    "kind", [pytest.param("pipe", marks=pytest.mark.slow), pytest.param("endless", marks=pytest.mark.slow), "out"]
)
def test_no_page_or_table_waits_or_leaves_the_store(kind, pattern, made, tmp_path, capsys):
    store, path, outside = replaced(made, tmp_path, pattern, kind)
    before = state(outside)
    run(DEAR, store, tmp_path, capsys)
    assert state(outside) == before
    if pattern == "reports/report.html":
        assert path.is_file()
        assert not path.is_symlink()
        assert path.read_bytes() != before["report.html"][0]


@pytest.mark.parametrize("kind", sorted(ODD.keys() - {"empty", "huge"}))
def test_a_command_writes_through_nothing_that_lies_where_its_user_wants_a_file(kind, tmp_path):
    sound = tmp_path / "sound"
    sound.write_bytes(b"precious")
    ODD[kind](tmp_path / "odd", sound)
    with pytest.raises(OSError, match="is there, and no regular file"):
        write_output(tmp_path / "odd", b"new")
    assert sound.read_bytes() == b"precious"
    write_output(sound, b"new")
    write_output(tmp_path / "a" / "new", b"new")
    assert sound.read_bytes() == (tmp_path / "a" / "new").read_bytes() == b"new"


@pytest.mark.slow
def test_pages_and_pictures_are_not_written_through_links(made, tmp_path, monkeypatch, capsys):
    sound = tmp_path / "sound"
    sound.write_bytes(b"precious")
    monkeypatch.setattr(figures, "drawn", lambda data, attack: {"roc": plt.figure()})
    for command, name, arguments in (("report", "page.html", ["--out"]), ("figures", "roc.png", [])):
        main = mia_study(command)
        (tmp_path / name).symlink_to(sound)
        out = tmp_path if command == "figures" else tmp_path / name
        assert main([str(made.folder), *arguments, str(out)]) == 2
        assert "no regular file" in capsys.readouterr().err
        (tmp_path / name).unlink()
        assert main([str(made.folder), *arguments, str(out)]) == 0
        assert (tmp_path / name).stat().st_size > 1000
    assert sound.read_bytes() == b"precious"


@pytest.mark.long
def test_reports_that_are_a_link_out_are_refused(made, tmp_path, capsys):
    store = Store.at(shutil.copytree(made.folder, tmp_path / "in" / "small"))
    outside = tmp_path / "outside"
    (store.folder / "reports").rename(outside)
    (store.folder / "reports").symlink_to(outside)
    before = state(outside)
    assert mia_study("report")([str(store.folder)]) == 2
    assert "leads out of the study" in capsys.readouterr().err
    assert mia_study("notebooks")([str(store.folder)]) == 2
    assert "leads out of the study" in capsys.readouterr().err
    assert state(outside) == before


@pytest.mark.slow
def test_a_report_that_is_a_link_out_is_not_uploaded_and_the_rest_is(made, tmp_path, capsys):
    store, path, _ = replaced(made, tmp_path, f"reports/{REPORT}", "out")
    assert mia_study("track")([str(store.folder), "--tracking", f"sqlite:///{tmp_path}/mlflow.db"]) == 0
    said = capsys.readouterr()
    assert f"warning: not in MLflow: {path}: leads out of the study" in said.err
    assert "trials of small are in" in said.out
    assert not list((tmp_path / "mlartifacts").rglob(REPORT))
    assert list((tmp_path / "mlartifacts").rglob("config.json"))


def test_the_lock_of_an_mlflow_file_is_no_way_to_another_file(tmp_path):
    sound = tmp_path / "sound"
    sound.write_bytes(b"precious")
    (tmp_path / ".mlflow.db.lock").symlink_to(sound)
    with pytest.raises(OSError, match="is a link"), alone_at(f"sqlite:///{tmp_path}/mlflow.db"):
        pass
    assert sound.read_bytes() == b"precious"


@pytest.mark.parametrize(
    "told",
    [
        [], "text", {"queued": 1}, {"at": 3}, {"at": "2026-01-01"}, {"at": "2026-01-01T00:00:00"},
        {"started_at": "then"}, {"started_at": "2026-01-01T00:00:00"}, {"seconds_left": "1"}, {"running": 3},
        {"running": [3]}, {"running": [{"trial": "x"}]}, {"running": [{"trial": 3, "seconds": 1}]}, {"queued": [1]},
        {"running": [{"trial": "x", "seconds": "1"}]},
    ],
    ids=str,
)  # fmt: skip
def test_what_no_driver_tells_is_passed_over(told, made, tmp_path, capsys):
    store = Store.at(shutil.copytree(made.folder, tmp_path / "small"))
    if isinstance(told, dict) and "queued" not in told:
        told = {"at": "2026-01-01T00:00:00+00:00", **told}
    store.place.write(heartbeat.FILE, json.dumps(told).encode())
    assert heartbeat.last(store) is None
    assert mia_study("status")([str(store.folder)]) == 0
    assert "running:" not in capsys.readouterr().out


def test_a_failure_that_cannot_be_read_or_is_long_is_told_all_the_same(made, tmp_path, capsys):
    store = Store.at(shutil.copytree(made.folder, tmp_path / "small"))
    first, second = read(store.root, store.study, "design")["trajectory_id"].dropna().unique()[:2]
    store.place.write(f"failures/{first}.json", b"{")
    store.save_failure(second, {"trial": "x", "error": "e" * 2**20, "command": {"a": 1}})
    assert mia_study("status")([str(store.folder)]) == 0
    said = capsys.readouterr().out
    assert f"{first}: {store.folder}/failures/{first}.json: is not JSON" in said
    assert "(1048576 characters)" in said
    assert len(said) < 5000
