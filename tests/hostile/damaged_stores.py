"""Every kind of damaged or odd file in every place of a store: every reader, and whether what `check` advises helps.

The store is of one trial that was really trained, so that a sweep can bring back what is lost. Each case asks all
readers of CHEAP, and one of DEAR in turn.
"""

import re
import shlex
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pandas as pd
import pytest

from mia_core.data import load_pool
from study.design.design_rows import design_rows
from study.design.study_design import Design
from study.design.work import missing
from study.machine import pick_device
from study.run import heartbeat
from study.run.feature_spaces import feature_network
from study.run.runner import Runner
from study.store import Damaged, Store, compact, read
from tests.commands import mia_study
from tests.hostile import FILES
from tests.hostile.counting import EVERY, FOLLOWED, TRACEBACK, USELESS, WRONG, Outcome, Sample, asked, is_bug
from tests.hostile.readers import READERS, track
from tests.small import small_spec
from tests.undrawn import draw_nothing

FEW = ("factors.train_size=[40]", "factors.defense=[none]", "replicates=1", "controls.nulls=0", "controls.blind=false",
       "attacks=[white_box, {name: euclidean, generated: 64}]", "quality.measures=[kid]")  # fmt: skip
TABLES = ("trials", "quality", "attacks", "scores", "history")
TIMES = ["seconds", "seconds_train", "seconds_attack", "peak_bytes", "finished_at"]
PRECIOUS = b"precious-0f4a"


def flipped(path: Path, place: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(place * (len(data) - 1))] ^= 4
    path.write_bytes(bytes(data))


HARMS = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "flipped early": lambda path: flipped(path, 0.3),
    "flipped late": lambda path: flipped(path, 0.8),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "removed": Path.unlink,
}
BESIDE = {
    "a copy beside": "{} (1){}",
    "a conflict copy beside": "{}.sync-conflict-20260101-120000-ABCDEF{}",
    "a copy with an ending beside": "{}-conflict{}",
}
"""Names of copies that other programs put beside a file, with the file's content or damaged."""


def finish(design: Design, store: Store) -> None:
    """What the study's sweep does, without Ray and MLflow."""
    store.publish(design.hash, design.spec.resolved, design_rows(design), {"git_commit": "abc"})
    feature_network(design, store)
    for works in missing(design, store).values():
        list(Runner(design, store).run(works))
    compact(store)


def made(root: Path) -> tuple[Design, Store]:
    """A finished study that has a file of every kind."""
    pick_device()  # as every sweep does, so that what is trained again has the same bits
    spec = small_spec(*FEW)
    design, store = Design(spec, load_pool(spec.data)), Store(root, "small")
    finish(design, store)
    trajectory = design.trials[0].trajectory_id
    store.save_failure(trajectory, {"trial": "x", "error": "x", "command": "x"})
    store.save_checkpoint("elsewhere", {}, {"step": 1})
    store.save_report("report.html", b"<p>an earlier report")
    heartbeat.beat(store, {"at": "2026-01-01T00:00:00+00:00", "queued": 0})
    with store.lock():
        pass
    return design, store


def positions(store: Store) -> list[str]:
    """One file of every kind; of passes the one that trained last."""
    marker = next(m for m in store.markers().values() if any(file.startswith("resume") for file in m["files"]))
    own = [*sorted(marker["files"]), f"done/{marker['trial_id']}-training.json"]
    folders = [folder for folder in store.place.folders(".") if folder not in {f.split("/")[0] for f in own}]
    others = [f"{folder}/{name}" for folder in folders for name in store.place.names(folder)]
    others += [f"checkpoints/elsewhere/{name}" for name in store.place.names("checkpoints/elsewhere")]
    return [*own, "study.json", *(name for name in others if (store.folder / name).is_file()), heartbeat.FILE, ".lock"]


CHEAP = {
    "status": lambda store, out: mia_study("status")([str(store.folder)]),
    "check": lambda store, out: mia_study("store check")([str(store.folder)]),
    "gc": lambda store, out: mia_study("store gc")([str(store.folder), "--dry-run"]),
    "compact": lambda store, out: mia_study("store compact")([str(store.folder)]),
    "export": lambda store, out: mia_study("store export")(["--public", str(store.folder), str(out)]),
    "controls": lambda store, out: mia_study("controls")([str(store.folder)]),
    "audit": lambda store, out: mia_study("audit")([str(store.folder)]),
}
DEAR = ("track", "tables", "plan", "tables", "plan", "report")


def cases(store: Store) -> Iterator[tuple[str, str]]:
    """Kinds and positions."""
    for position in positions(store):
        for kind in HARMS:
            if position != ".lock" or kind == "removed":
                yield kind, position
        for kind in FILES:
            yield f"a {kind} instead", position
        for kind in BESIDE:
            for content in ("", ", damaged"):
                yield kind + content, position


def harm(store: Store, kind: str, position: str, outside: Path) -> None:
    """Make one case. outside: an empty folder, where the file lies then that a link points to."""
    path = store.folder / position
    if kind in HARMS:
        HARMS[kind](path)
    elif kind.endswith(" instead"):
        path.rename(outside / path.name)
        (outside / path.name).write_bytes(PRECIOUS)
        FILES[kind.removeprefix("a ").removesuffix(" instead")](path, outside / path.name)
    else:
        name, _, damaged = kind.partition(",")
        data = path.read_bytes()
        copy = path.with_name(BESIDE[name].format(path.stem, path.suffix))
        copy.write_bytes(data[: len(data) // 2] if damaged else data)


def stores(root: Path, sample: Sample = EVERY) -> Iterator[Outcome]:
    """Each kind of damage in each place."""
    design, sound = made(root / "sound")
    expected = {table: read(sound.root, "small", table) for table in TABLES}
    turn = count()
    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch)
        for number, (kind, position) in sample.of(list(cases(sound))):
            folder = root / f"case{number}"
            yield from _case(design, sound, expected, kind, position, folder, next(turn))
            shutil.rmtree(folder)


def _case(design, sound, expected, kind, position, folder, turn) -> Iterator[Outcome]:
    store = Store.at(shutil.copytree(sound.folder, folder / "results" / "small"))
    outside = folder / "outside"
    outside.mkdir()
    harm(store, kind, position, outside)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in outside.iterdir()}
    where = re.sub(r"[0-9a-f]{8,}", "*", position)
    dear = DEAR[turn % len(DEAR)]
    asking = {"track": lambda store: track(store)[0], **READERS}[dear]
    for reader, command in {**CHEAP, dear: lambda store, out: asking(store)}.items():
        code, said = asked(lambda command=command, reader=reader: command(store, folder / f"out {reader}"))
        fault = TRACEBACK if is_bug(code, said) else FOLLOWED if PRECIOUS.decode() in said else None
        yield Outcome(kind, f"{where}, {reader}", fault, said)
    yield Outcome(kind, f"{where}, read", _wrong(store, expected), "")
    after = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in outside.iterdir()}
    leaked = any(PRECIOUS in path.read_bytes() for path in folder.glob("out */**/*") if path.is_file())
    yield Outcome(kind, f"{where}, outside", FOLLOWED if after != before or leaked else None, "")
    words = _advice(design, store, expected)
    yield Outcome(kind, f"{where}, advice", USELESS if words else None, words)


def _wrong(store, expected) -> str | None:
    """WRONG where a table is read that is another than before, and not refused; rows may be missing."""
    for table, frame in expected.items():
        try:
            found = read(store.root, "small", table)
        except (Damaged, ValueError, OSError):
            continue
        plain = [part.drop(columns=TIMES, errors="ignore") for part in (found, frame)]
        keys = [name for name in ("trial_id", "trajectory_id", "attack_id", "measure_id", "query", "epoch")
                if name in plain[0]]  # fmt: skip
        known = plain[1].merge(plain[0][keys], on=keys) if len(plain[0]) else plain[1].iloc[:0]
        if len(known) != len(plain[0]) or not _alike(*(part.sort_values(keys) for part in (plain[0], known))):
            return WRONG
    return None


def _alike(first: pd.DataFrame, second: pd.DataFrame) -> bool:
    try:
        pd.testing.assert_frame_equal(first.reset_index(drop=True), second.reset_index(drop=True), check_dtype=False)
    except AssertionError:
        return False
    return True


def _advice(design: Design, store: Store, expected) -> str:
    """Do what `check` says, round after round, until it says that all is whole; what it says else."""
    said = ""
    for _ in range(4):
        code, said = asked(lambda: CHEAP["check"](store, None))
        strays = re.findall(r"stray: (.*) is no file of a study", said)
        if code == 0 and not strays:
            finish(design, store)
            return "" if _wrong(store, expected) is None else "numbers are others than before"
        for name in strays:
            _drop(store.folder / name)
        for name in re.findall(r"remove ((?:done|features)/[^ :]+\.json)", said):
            _drop(store.folder / name)
        for name in re.findall(r"(?:DAMAGED|refused:) (\S+): .*(?:remove the link|is a folder)", said):
            _drop(store.folder / name)
        for line in re.findall(r"`(mia-study store [^`]*)`", said):
            words = shlex.split(line)
            asked(lambda words=words: mia_study(" ".join(words[1:3]))(words[3:]))
        if "sweep command" in said:
            code, raised = asked(lambda: finish(design, store) or 0)
            if code:
                return raised
    return said


def _drop(path: Path) -> None:
    """Move it away."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
