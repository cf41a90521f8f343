"""Odd values in JSON and in rows of a store: of other types, out of range, absent; sealed, so that no checksum tells.

Each value meets every place of every document: done-markers, manifests, the pointer, specs, seals of feature networks,
failures, what a driver told, and JSON in rows; and every column of every table. `check` and two other readers, in turn,
must refuse it in a line, or have no use for it.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from study.store import Store, compact, seals
from study.store.schema import SCHEMAS
from tests.forging import read_parquet, rewrite, rewrite_design, rewrite_pointer, rewrite_spec, with_json
from tests.hostile.counting import EVERY, TRACEBACK, Outcome, Sample, asked, is_bug
from tests.hostile.damaged_stores import CHEAP
from tests.hostile.places import made
from tests.hostile.readers import READERS, track
from tests.undrawn import draw_nothing

ODD: dict[str, Any] = {
    "null": None, "a word": "x", "no word": "", "a number": -1, "a huge number": 10**18, "a fraction": 0.5,
    "a truth value": True, "a list": [], "a list of lists": [[]], "a mapping": {}, "a mapping of lists": {"name": []},
    "a number of 400 digits": 10**400, "infinity": float("inf"), "a lone surrogate": "\ud800",
}  # fmt: skip
ABSENT = "absent"

JSON_READERS = ("status", "controls", "audit", "tables", "track", "plan", "gc", "export", "compact", "report")


def paths(value: Any, most: int = 4) -> Iterator[tuple[Any, ...]]:
    """Ways to all values of a document, so deep; of lists the first item alone."""
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))[:1]
    else:
        return
    for key, inner in items:
        yield (key,)
        if most > 1:
            yield from ((key, *more) for more in paths(inner, most - 1))


def put(document: Any, path: tuple[Any, ...], value: Any) -> None:
    """A value in place of another; ABSENT takes it away."""
    for key in path[:-1]:
        document = document[key]
    if value is ABSENT:
        del document[path[-1]]
    else:
        document[path[-1]] = value


def _marker(store: Store) -> Path:
    return store.folder / "done" / f"{store.passes()[0]}.json"


def _manifest(store: Store) -> Path:
    return next((store.folder / "compacted").glob("*.json"))


def _sealed_json(find: Callable[[Store], Path]) -> tuple[Callable[[Store], Any], Callable[[Store, Any], None]]:
    def load(store: Store) -> Any:
        document = json.loads(find(store).read_bytes())
        document.pop("sha256", None)
        return document

    def save(store: Store, document: Any) -> None:
        find(store).write_bytes(seals.to_json(document))

    return load, save


def _plain(relative: str) -> tuple[Callable[[Store], Any], Callable[[Store, Any], None]]:
    return (
        lambda store: json.loads((store.folder / relative).read_bytes()),
        lambda store, document: (store.folder / relative).write_bytes(json.dumps(document).encode()) and None,
    )


def _spec(store: Store) -> Any:
    return store.resolved()


def _save_spec(store: Store, document: Any) -> None:
    def change(spec: dict[str, Any]) -> None:
        spec.clear()
        spec.update(document)

    rewrite_spec(store, change)


def _column(table: str, name: str) -> tuple[Callable[[Store], Any], Callable[[Store, Any], None]]:
    def load(store: Store) -> Any:
        marker = next(iter(store.markers().values()))
        relative = next(file for file in marker["files"] if file.startswith(f"{table}/"))
        text = read_parquet(store, relative)[name].to_pylist()[0]
        return json.loads(text) if text else {"x": 1}

    def save(store: Store, document: Any) -> None:
        def change(own: dict[str, Any]) -> None:
            own.clear()
            own.update(document)

        rewrite(store, table, lambda rows: with_json(rows, name, change))

    return load, save


def _levels(store: Store) -> Any:
    return next(json.loads(text) for text in store.design()["levels"].to_pylist() if text)


def _save_levels(store: Store, document: Any) -> None:
    def change(own: dict[str, Any]) -> None:
        if own:
            own.clear()
            own.update(document)

    rewrite_design(store, lambda rows: with_json(rows, "levels", change))


DOCUMENTS = {
    "done-markers": _sealed_json(_marker),
    "manifests of compactions": _sealed_json(_manifest),
    "the pointer": _sealed_json(lambda store: store.folder / "study.json"),
    "specs": (_spec, _save_spec),
    "seals of feature networks": _plain("features/recipe.json"),
    "failures": _plain("failures/FAILED.json"),
    "what a driver told": _plain("progress.json"),
    "settings of a trial": _column("trials", "config"),
    "versions of a trial": _column("trials", "versions"),
    "arguments of attacks": _column("attacks", "arguments"),
    "levels of a design": (_levels, _save_levels),
}


def whole(root: Path) -> Store:
    """A sealed study of one trial, with a compaction, a feature network, a failure, and a driver's last words."""
    store = made(root, "replicates=1", "factors.target.norm=[group]")
    rewrite_pointer(store, versions={"torch": "2.13"}, git_commit="abc", lock="def")
    compact(store)
    store.save_feature_network("recipe", {})
    (trajectory,) = set(store.design()["trajectory_id"].drop_null().to_pylist()[:1])
    store.save_failure(trajectory, {"trial": "x", "error": "x", "command": "x", "trial_id": "x"})
    running = [{"trial": "x", "seconds": 1.0, "step": 1, "steps": 2}]
    moment = datetime.now(UTC).isoformat()
    told = {"at": moment, "started_at": moment, "seconds_left": 1.0, "queued": 1, "pid": 1, "running": running}
    store.place.write("progress.json", json.dumps(told).encode())
    return store


def json_values(root: Path, sample: Sample = EVERY) -> Iterator[Outcome]:
    """Every odd value in every place of every document."""
    sound = whole(root / "sound")
    failed = next(iter(sound.failed()))
    cases = []
    for kind, (load, save) in _documents(failed).items():
        document = load(sound)
        for path in paths(document):
            cases += [(kind, save, load, path, words, value) for words, value in {**ODD, ABSENT: ABSENT}.items()]
    yield from _tried(sound, root, sample.of(cases))


def _documents(failed: str) -> dict[str, Any]:
    return {**DOCUMENTS, "failures": _plain(f"failures/{failed}.json")}


def _tried(sound: Store, root: Path, cases: Iterator[Any]) -> Iterator[Outcome]:
    turn = count()
    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch)
        for number, (kind, save, load, path, words, value) in cases:
            store = Store.at(shutil.copytree(sound.folder, root / f"case{number}" / "small"))
            document = load(store)
            put(document, path, value)
            try:
                save(store, document)
            except (ValueError, TypeError, AttributeError):
                continue  # nothing that a file could hold
            where = f"{'.'.join(map(str, path))[:80]} is {words}"
            yield from _read(kind, where, store, root / f"case{number}", next(turn))
            shutil.rmtree(root / f"case{number}")


def _read(kind: str, where: str, store: Store, folder: Path, turn: int) -> Iterator[Outcome]:
    """`check`, and two readers in turn."""
    others = [JSON_READERS[(2 * turn + more) % len(JSON_READERS)] for more in (0, 1)]
    for reader in ("check", *others):
        code, said = asked(lambda reader=reader: _ask(reader, store, folder / "out"))
        yield Outcome(f"odd values in {kind}", f"{where}, {reader}", TRACEBACK if is_bug(code, said) else None, said)


def _ask(reader: str, store: Store, out: Path) -> int:
    if reader == "track":
        return track(store)[0]
    return CHEAP[reader](store, out) if reader in CHEAP else READERS[reader](store)


# Rows


NUMBERS = {"null": None, "less than nothing": -1, "huge": 2**62, "no number": float("nan"), "infinite": float("inf"),
           "a little": 1e-300, "nothing": 0}  # fmt: skip
TEXTS = {"null": None, "no word": "", "a word": "x", "a huge word": "x" * 100_000, "a number": "1e999", "JSON": "[[]]"}


def row_values(root: Path, sample: Sample = EVERY) -> Iterator[Outcome]:
    """Every odd value in every column of every table of passes."""
    sound = whole(root / "sound")
    shutil.rmtree(sound.folder / "compacted")
    cases = []
    for table, columns in SCHEMAS.items():
        for column, kind in columns.items() if table not in ("design", "markers") else ():
            values = TEXTS if pa.types.is_string(kind) else NUMBERS
            cases += [(table, column, words, value) for words, value in values.items()]
            cases.append((table, column, ABSENT, ABSENT))
    turn = count()
    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch)
        for number, (table, column, words, value) in sample.of(cases):
            store = Store.at(shutil.copytree(sound.folder, root / f"case{number}" / "small"))
            try:
                rewrite(store, table, lambda rows, c=column, v=value: _with(rows, c, v))
            except (pa.ArrowException, TypeError, OverflowError):
                continue  # no file of that type holds it
            where = f"{table}.{column} is {words}"
            yield from _read(f"rows of {table}", where, store, root / f"case{number}", next(turn))
            shutil.rmtree(root / f"case{number}")


def _with(rows: pa.Table, column: str, value: Any) -> pa.Table:
    if column not in rows.column_names:
        return rows
    at = rows.column_names.index(column)
    if value is ABSENT:
        return rows.remove_column(at)
    kind = rows.schema.types[at]
    values = pa.array([value] * len(rows), pa.float64() if isinstance(value, (int, float)) else None)
    if isinstance(value, (int, float)):
        values = (
            values.cast(pa.int64(), safe=False) if pa.types.is_timestamp(kind) or pa.types.is_boolean(kind) else values
        )
        return rows.set_column(at, column, values.cast(kind, safe=False))
    return rows.set_column(at, column, pa.array([value] * len(rows), kind))


# Several results under one


def doubled(root: Path, sample: Sample = EVERY) -> Iterator[Outcome]:
    """Rows twice in a file, rows of other trials, files of other passes: refused, and `check` says so."""
    sound = whole(root / "sound")
    shutil.rmtree(sound.folder / "compacted")
    for table in ("trials", "quality", "attacks", "scores"):
        for words, change in {
            "every row twice": lambda rows: pa.concat_tables([rows, rows]),
            "another trial's": lambda rows: _with(rows, "trial_id", "0" * 16),
            "another attack's": lambda rows: _with(rows, "attack_id", "0" * 16),
            "another measure's": lambda rows: _with(rows, "measure_id", "0" * 16),
        }.items():
            if words == "another attack's" and table not in ("attacks", "scores"):
                continue
            if words == "another measure's" and table != "quality":
                continue
            folder = root / f"{table} {words}"
            store = Store.at(shutil.copytree(sound.folder, folder / "small"))
            rewrite(store, table, change)
            for reader in ("check", "tables", "audit"):
                code, said = asked(lambda reader=reader, store=store, out=folder / "out": _ask(reader, store, out))
                refused = code == (1 if reader == "check" else 2)
                bug = is_bug(code, said) or (not refused and reader != "audit")
                yield Outcome(
                    "rows that are not a pass's", f"{table}: {words}, {reader}", TRACEBACK if bug else None, said
                )
