"""What a running sweep shows: a live table on a terminal, a line a minute elsewhere, and both in the same words."""

import contextlib
import dataclasses
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from rich.live import Live
from rich.table import Table

from study.design.work import Work
from study.plan.cost import Expected, makespan
from study.run.heartbeat import EVERY_SECONDS
from study.terminal import Console, duration, one_line

LINE_SECONDS = 60.0
SHOWN = 8
"""Running trajectories that are named."""
BAR = 20
"""Letters of a bar."""


@dataclass(frozen=True)
class Trained:
    """How far the training of a trajectory is on its way to a level. loss: a mean over the last epoch."""

    step: int
    steps: int
    loss: float | None

    def __str__(self) -> str:
        loss = "" if self.loss is None else f", loss {self.loss:.3f}"
        return f"step {self.step} of {self.steps}{loss}"


class Progress:
    """What is done, running, queued and failed, the time left, what was sealed last, and the last error.

    keep: is given the state every few seconds, for others to see.
    """

    def __init__(
        self,
        console: Console,
        todo: Mapping[str, Sequence[Work]],
        expected: Expected,
        keep: Callable[[Mapping[str, Any]], None] = lambda state: None,
    ) -> None:
        self._console = console
        self._keep = keep
        self._pace = _Pace(todo, expected)
        self._names = {name: {work.trial.trial_id: work.trial.name for work in works} for name, works in todo.items()}
        self._passes = sum(map(len, todo.values()))
        self._done = self._again = 0
        self._running: dict[str, float] = {}
        self._trained: dict[str, Trained] = {}
        self._ended: set[str] = set()
        self._failed: set[str] = set()
        self._last: tuple[str, float] | None = None
        self._error = ""
        self._started_at = datetime.now(UTC)
        self._printed = self._kept = 0.0
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._clock = threading.Thread(target=self._tick, name="progress", daemon=True)
        self._live = (
            Live(
                console=console,
                get_renderable=self._table,
                refresh_per_second=2,
                redirect_stderr=sys.stderr.isatty(),
            )
            if console.is_terminal
            else None
        )
        self._shown = contextlib.ExitStack()

    def __enter__(self) -> "Progress":
        if self._live:
            self._shown.enter_context(self._live)
            self._shown.enter_context(_handlers_follow_stderr())
        self._show(force=True)
        self._clock.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._clock.join()
        self._show(force=True)
        self._shown.close()

    def started(self, trajectory_id: str) -> None:
        """A trajectory began, for the first time or again."""
        with self._lock:
            self._running[trajectory_id] = time.monotonic()
            self._pace.started(trajectory_id)
        self._show()

    def trained(self, trajectory_id: str, step: int, steps: int, loss: float | None) -> None:
        """A training has come to a step, of so many of its level."""
        with self._lock:
            self._trained[trajectory_id] = Trained(step, steps, loss)
        self._show()

    def sealed(self, trajectory_id: str, trial_id: str, seconds: float) -> None:
        """A pass of a trial was sealed, which took so long."""
        with self._lock:
            self._trained.pop(trajectory_id, None)
            name = self._names[trajectory_id].pop(trial_id, None)
            if name is None:  # sealed by an attempt whose report was lost, too
                return
            self._done += 1
            self._last = name, time.monotonic()
            self._pace.sealed(trajectory_id, trial_id, seconds)
        self._show()

    def again(self, trajectory_id: str, error: str) -> None:
        """An attempt at a trajectory failed, and it will be tried again."""
        with self._lock:
            self._forget(trajectory_id)
            self._pace.stopped(trajectory_id)
            self._again += 1
            self._error = f"{self._name(trajectory_id)}: {error}"
        self._show()

    def ended(self, trajectory_id: str, error: str | None = None) -> None:
        """A trajectory ended; error: it failed for good."""
        with self._lock:
            self._forget(trajectory_id)
            self._ended.add(trajectory_id)
            if error:
                self._failed.add(trajectory_id)
                self._error = f"{self._name(trajectory_id)}: {error}"
            self._pace.ended(trajectory_id)
        self._show()

    def say(self, line: str) -> None:
        """Print a line for good; above the live table, where there is one."""
        self._console.say(line)

    def state(self) -> dict[str, Any]:
        """What is shown, for `study.run.heartbeat`; times in seconds or as ISO 8601 in UTC."""
        with self._lock:
            now, clock = datetime.now(UTC), time.monotonic()
            return {
                "pid": os.getpid(),
                "started_at": self._started_at.isoformat(),
                "at": now.isoformat(),
                "passes": self._passes,
                "done": self._done,
                "running": [
                    {"trajectory_id": name, "trial": self._name(name), "seconds": clock - since, **self._steps(name)}
                    for name, since in self._running.items()
                ],
                "queued": self._queued(),
                "failed": sorted(self._failed),
                "tried_again": self._again,
                "seconds_left": self._pace.left(),
                "last_error": self._error or None,
            }

    def _tick(self) -> None:
        while not self._stop.wait(1.0):
            self._show()

    def _show(self, force: bool = False) -> None:
        with self._lock:
            now = time.monotonic()
            if force or now - self._kept >= EVERY_SECONDS:
                self._kept = now
                self._keep(self.state())
            if not self._live and (force or now - self._printed >= LINE_SECONDS):
                self._printed = now
                line = "; ".join(f"{word}: {', '.join(texts)}" for word, texts in self._words())
                self._console.say(line)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold")
        table.add_column()
        with self._lock:
            for word, texts in self._words():
                table.add_row(word, "\n".join(map(one_line, texts)))
        return table

    def _words(self) -> Iterator[tuple[str, Sequence[str]]]:
        now = time.monotonic()
        shown = list(self._running.items())[:SHOWN]
        running = [line for name, since in shown for line in self._at(name, now - since)]
        more = [f"and {len(self._running) - SHOWN} more"] if len(self._running) > SHOWN else []
        again = f" ({self._again} attempts tried again)" if self._again else ""
        left = self._pace.left()
        done = f"{bar(self._done, self._passes)} " if self._console.is_terminal else ""
        yield "done", [f"{done}{self._done} of {self._passes} trials"]
        yield "running", [*running, *more] or ["nothing"]
        yield "queued", [f"{self._queued()} trajectories"]
        yield "failed", [f"{len(self._failed)} trajectories{again}"]
        yield "left", ["unknown time" if left is None else f"about {duration(left)}"]
        if self._last:
            yield "last sealed", [f"{self._last[0]} ({duration(now - self._last[1])} ago)"]
        if self._error:
            yield "last error", [self._error]

    def _at(self, trajectory_id: str, seconds: float) -> list[str]:
        """A running trajectory; on a terminal with a bar below it."""
        name, trained = self._name(trajectory_id), self._trained.get(trajectory_id)
        if trained is None:
            return [f"{name} ({duration(seconds)})"]
        if self._console.is_terminal:
            return [f"{name} ({duration(seconds)})", f"  {bar(trained.step, trained.steps)} {trained}"]
        return [f"{name} ({trained}, {duration(seconds)})"]

    def _steps(self, trajectory_id: str) -> dict[str, Any]:
        trained = self._trained.get(trajectory_id)
        return {} if trained is None else dataclasses.asdict(trained)

    def _forget(self, trajectory_id: str) -> None:
        self._running.pop(trajectory_id, None)
        self._trained.pop(trajectory_id, None)

    def _queued(self) -> int:
        return len(self._names) - len(self._ended) - len(self._running)

    def _name(self, trajectory_id: str) -> str:
        """Of the trial that a trajectory is working at."""
        return next(iter(self._names[trajectory_id].values()), trajectory_id)


def bar(done: int, of: int) -> str:
    """A share as a bar of BAR letters."""
    filled = BAR * done // of if of else BAR
    return "█" * filled + "░" * (BAR - filled)


class _Pace:
    """The time left: what each pass is expected to take, corrected by what sealed ones took, over the slots in use."""

    def __init__(self, todo: Mapping[str, Sequence[Work]], expected: Expected) -> None:
        self._left = {
            name: {work.trial.trial_id: seconds for work, seconds in zip(works, expected.works[name], strict=True)}
            for name, works in todo.items()
        }
        self._slots, self._in_seconds = expected.slots, expected.in_seconds
        self._since: dict[str, float] = {}
        self._spent = self._expected = 0.0

    def started(self, trajectory_id: str) -> None:
        self._since[trajectory_id] = time.monotonic()
        self._slots = max(self._slots, len(self._since))

    def stopped(self, trajectory_id: str) -> None:
        self._since.pop(trajectory_id, None)

    def ended(self, trajectory_id: str) -> None:
        self.stopped(trajectory_id)
        self._left[trajectory_id] = {}

    def sealed(self, trajectory_id: str, trial_id: str, seconds: float) -> None:
        self._spent += seconds
        self._expected += self._left[trajectory_id].pop(trial_id)
        self._since[trajectory_id] = time.monotonic()

    def left(self) -> float | None:
        """Seconds until the last trajectory ends; None before there is anything to go by."""
        if not self._expected and not self._in_seconds:
            return None
        pace = self._spent / self._expected if self._expected else 1.0
        now = time.monotonic()
        return makespan(
            [
                max(0.0, pace * sum(passes.values()) - (now - self._since[name] if name in self._since else 0.0))
                for name, passes in self._left.items()
            ],
            self._slots,
        )


@contextlib.contextmanager
def _handlers_follow_stderr() -> Iterator[None]:
    """Log handlers that were made before a live table write where it has put `sys.stderr`, and so do not tear it."""
    loggers = [logging.getLogger(), *(x for x in logging.Logger.manager.loggerDict.values() if hasattr(x, "handlers"))]
    moved = [
        (handler, handler.stream)
        for logger in loggers
        for handler in logger.handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream in (sys.__stderr__, sys.__stdout__)
    ]
    for handler, _ in moved:
        handler.setStream(sys.stderr)
    try:
        yield
    finally:
        for handler, stream in moved:
            handler.setStream(stream)
