"""How far a study is, from its store alone, also while it runs."""

import contextlib
import dataclasses
import json
import shlex
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table

from mia_core.errors import Refused, shorten
from study.outcomes import COMPLETE, INCOMPLETE
from study.run import failures, heartbeat
from study.store import Store
from study.store.roles import STUDIED
from study.store.rows import DIVERGED
from study.terminal import Console, duration, one_line, say

RECENT = 20
"""Seals that a pace is taken from, where no driver tells the time left."""
PAUSE_SECONDS = 1800.0
"""A longer gap between seals is none of work."""
SHOWN = 8
FEW = 12
"""Levels a factor may have to be counted by level."""

Count = tuple[int, int]
"""Done, and how many there are."""


@dataclass(frozen=True)
class Status:
    """What a store says of its study. Times are UTC.

    counts: of trials, controls, attacks and measures; a trial is done when nothing of it is missing. levels: trials
    done by factor and level. running: whether a driver has the lock, or sent a heartbeat within STALE_SECONDS. driver:
    its last heartbeat, with its age in seconds. sealed_at: when the last pass was sealed. seconds_left: the driver's
    estimate, else by the pace of the last RECENT seals while it runs. failed: what is kept of trajectories whose last
    attempt failed. diverged: names of trials whose training diverged, which are done.
    """

    study: str
    where: str
    public: bool
    counts: Mapping[str, Count]
    levels: Mapping[str, Mapping[str, Count]]
    running: bool
    driver: Mapping[str, Any] | None
    sealed_at: datetime | None
    seconds_left: float | None
    failed: Sequence[Mapping[str, Any]]
    diverged: Sequence[str]
    bytes: int
    files: int
    next: str

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return all(done == wanted for done, wanted in self.counts.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for --json."""
        sealed_at = self.sealed_at.isoformat() if self.sealed_at else None
        return {**dataclasses.asdict(self), "complete": self.complete, "sealed_at": sealed_at}


def status(store: Store, config: str | None = None) -> Status:
    """Of a study now. config: the study file, for the command to go on with. ValueError or Damaged without a design."""
    design = store.design().to_pylist()
    trials = {row["trial_id"]: row for row in reversed(design) if row["kind"] == "trial"}
    markers = store.markers()
    counts, done = _counted(design, markers.values())
    sealed = sorted(datetime.fromisoformat(marker["sealed_at"]) for marker in markers.values())
    driver = _driver(store)
    alive = heartbeat.is_locked(store) or bool(driver and driver["age"] < heartbeat.STALE_SECONDS)
    left = sum(wanted - have for have, wanted in (counts["trials"], counts["controls"]))
    bytes_, files = _size(store)
    names = {row["trajectory_id"] for row in trials.values()}
    odd = {marker["trial_id"] for marker in markers.values() if marker.get("flags") == DIVERGED}
    return Status(
        study=store.study,
        where=store.uri,
        public=store.public,
        counts=counts,
        levels=_by_level(reversed(trials.values()), done),
        running=alive,
        driver=driver,
        sealed_at=sealed[-1] if sealed else None,
        seconds_left=_seconds_left(driver, sealed, left) if alive else None,
        failed=[failures.kept(store, name) for name in sorted(store.failed() & names)],
        diverged=[row["label"] for name, row in trials.items() if name in odd],
        bytes=bytes_,
        files=files,
        next=_next(store, alive, left, config),
    )


def _counted(
    design: Iterable[Mapping[str, Any]], markers: Iterable[Mapping[str, Any]]
) -> tuple[dict[str, Count], set[str]]:
    """Done and wanted by kind, and the ids of trials of which nothing is missing."""
    have: set[tuple[str, str]] = set()
    for marker in markers:
        work = marker["work"]
        ids = [*([marker["trial_id"]] if work["train"] else []), *work["attacks"], *work["measures"]]
        have.update((marker["trial_id"], name) for name in ids)
    done, wanted, missing = Counter[str](), Counter[str](), set()
    roles: dict[str, str] = {}
    rows = {(row["trial_id"], row["kind"], row["id"]): row["role"] for row in reversed(list(design))}
    for (trial_id, kind, name), role in rows.items():
        if kind not in ("trial", "attack", "measure"):
            continue
        roles[trial_id] = "trials" if role in STUDIED else "controls"
        if kind != "trial":
            wanted[f"{kind}s"] += 1
            done[f"{kind}s"] += (trial_id, name) in have
        if (trial_id, name) not in have:
            missing.add(trial_id)
    wanted.update(roles.values())
    done.update(kind for trial_id, kind in roles.items() if trial_id not in missing)
    kinds = ("trials", "controls", "attacks", "measures")
    return {kind: (done[kind], wanted[kind]) for kind in kinds}, roles.keys() - missing


def _by_level(trials: Iterable[Mapping[str, Any]], done: set[str]) -> dict[str, dict[str, Count]]:
    """Trials done by level, of factors with a few levels; stores of older versions do not have the levels."""
    found: dict[str, dict[str, list[int]]] = {}
    for row in trials:
        if row["role"] not in STUDIED or row.get("levels") is None:
            continue
        for factor, level in json.loads(row["levels"]).items():
            count = found.setdefault(factor, {}).setdefault(str(level), [0, 0])
            count[0] += row["trial_id"] in done
            count[1] += 1
    return {
        factor: {level: (count[0], count[1]) for level, count in levels.items()}
        for factor, levels in found.items()
        if 1 < len(levels) <= FEW
    }


def _driver(store: Store) -> dict[str, Any] | None:
    """The last heartbeat of a driver, with its age; None for what is not of that form."""
    state = heartbeat.last(store)
    return None if state is None else {**state, "age": _age(datetime.fromisoformat(state["at"]))}


def _age(then: datetime) -> float:
    return (datetime.now(UTC) - then).total_seconds()


def _seconds_left(driver: Mapping[str, Any] | None, sealed: Sequence[datetime], left: int) -> float | None:
    if driver and driver.get("seconds_left") is not None:
        return max(0.0, driver["seconds_left"] - driver["age"])
    recent = sealed[-RECENT:]
    gaps = [(after - before).total_seconds() for before, after in pairwise(recent)]
    gaps = [gap for gap in gaps if gap < PAUSE_SECONDS]
    return left * sum(gaps) / len(gaps) if gaps else None


def _size(store: Store) -> tuple[int, int]:
    """Bytes and number of a study's files."""
    folders, entries = [""], []
    while folders:
        folder = folders.pop()
        entries += store.place.files(folder)
        folders += [f"{folder}/{name}".lstrip("/") for name in store.place.folders(folder)]
    return sum(entry.bytes for entry in entries), len(entries)


def _next(store: Store, running: bool, left: int, config: str | None) -> str:
    if not left:
        return shlex.join(["mia-study", "report", store.uri])
    if store.public:
        return "nothing: a public copy, which is no more complete than the study it was made of"
    if running:
        return f"wait, e.g. {shlex.join(['mia-study', 'status', store.uri, '--watch', '10'])}"
    if config:
        return f"mia-study sweep {config}"
    return f"the command it was begun with goes on: mia-study sweep CONFIG with {shlex.join([f'results={store.root}'])}"


# What is shown


def show(found: Status) -> RenderableType:
    """For people."""
    parts: list[RenderableType] = [one_line(f"study {found.study} ({found.where}): {_state(found)}")]
    table = Table("", "done", "of")
    for kind, (done, wanted) in found.counts.items():
        table.add_row(kind, str(done), str(wanted))
    parts.append(table)
    if found.levels:
        levels = Table("factor", "trials done by level")
        for factor, counts in found.levels.items():
            levels.add_row(factor, ", ".join(f"{level}: {done}/{of}" for level, (done, of) in counts.items()))
        parts.append(levels)
    for word, texts in _facts(found):
        parts += [one_line(f"{'' if number else word + ':':13} {text}") for number, text in enumerate(texts)]
    return Group(*parts)


def _state(found: Status) -> str:
    words = ["complete" if found.complete else "incomplete"]
    words += ["a public copy"] if found.public else []
    if not found.running:
        return ", ".join([*words, "not running"])
    since = ""
    if found.driver and found.driver["age"] < heartbeat.STALE_SECONDS and "started_at" in found.driver:
        since = f" for {duration(_age(datetime.fromisoformat(found.driver['started_at'])))}"
        since += f" (process {found.driver.get('pid')})"
    return ", ".join([*words, f"running{since}"])


def _running(item: Mapping[str, Any]) -> str:
    step, steps = item.get("step"), item.get("steps")
    at = f"step {step} of {steps}, " if isinstance(step, int) and isinstance(steps, int) else ""
    return f"{shorten(str(item['trial']))} ({at}{duration(item['seconds'])})"


def _facts(found: Status) -> list[tuple[str, list[str]]]:
    facts = []
    driver = found.driver
    if driver:
        age = f"as of {duration(driver['age'])} ago"
        age += "" if found.running else ", by a driver that did not end in order"
        running = [_running(item) for item in driver.get("running", [])]
        more = [f"and {len(running) - SHOWN} more"] if len(running) > SHOWN else []
        facts.append(("running", [*(running[:SHOWN] or ["nothing"]), *more, f"({age})"]))
        facts.append(("queued", [f"{driver.get('queued')} trajectories"]))
    if found.running and not found.complete:
        left = "unknown time" if found.seconds_left is None else f"about {duration(found.seconds_left)}"
        facts.append(("left", [left]))
    if found.sealed_at:
        ago = f"({duration(_age(found.sealed_at))} ago)"
        facts.append(("last sealed", [f"{found.sealed_at:%Y-%m-%d %H:%M:%S} UTC {ago}"]))
    failed = [line for item in found.failed[:SHOWN] for line in failures.words(item)]
    more = [f"and {len(found.failed) - SHOWN} more"] if len(found.failed) > SHOWN else []
    facts.append(("failed", [*failed, *more] or ["0 trajectories"]))
    if found.diverged:
        more = [f"and {len(found.diverged) - SHOWN} more"] if len(found.diverged) > SHOWN else []
        facts.append(("diverged", [*map(shorten, found.diverged[:SHOWN]), *more]))
    facts.append(("disk", [f"{found.bytes / 1e6:.1f} MB in {found.files} files"]))
    facts.append(("next", [found.next]))
    return facts


def run(study: str, overrides: Sequence[str], preset: str | None, as_json: bool, watch: float | None) -> int:
    """Show it once, or every so many seconds; the exit code. study: where its store is, or a study file."""
    console = Console(soft_wrap=True)
    store, config = _place(study, overrides, preset)
    found = status(store, config)
    if as_json:
        say(*json.dumps(found.to_dict(), indent=2).split("\n"))
    elif watch is None:
        console.print(show(found))
    else:
        found = _watch(store, config, found, watch, console)
    return COMPLETE if found.complete else INCOMPLETE


def _place(study: str, overrides: Sequence[str], preset: str | None) -> tuple[Store, str | None]:
    """The store, and the study file that names it, as its words on a command line."""
    if not Path(study).is_file():
        if overrides or preset:
            raise Refused(f"--set and --preset are of a study file, which {study} is not")
        return Store.at(study), None
    from study.spec.study_file import read as read_spec

    spec = read_spec(study, overrides, preset)
    words = [study, *(["--preset", preset] if preset else [])]
    words += [word for setting in overrides for word in ("--set", setting)]
    return Store(spec.results, spec.study), shlex.join(words)


def _watch(store: Store, config: str | None, found: Status, seconds: float, console: Console) -> Status:
    """Until the study is complete and nobody works on it, or Ctrl-C; the last status."""
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
        live = stack.enter_context(Live(show(found), console=console)) if console.is_terminal else None
        while True:
            if not live:
                console.print(show(found))
            if found.complete and not found.running:
                break
            time.sleep(seconds)
            found = status(store, config)
            if live:
                live.update(show(found), refresh=True)
    return found
