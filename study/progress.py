"""What a running sweep shows: a live table on a terminal, a line a minute elsewhere."""

import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

LINE_SECONDS = 60.0


class Progress:
    """Counts of trials, the time left by the pace so far, and the last error."""

    def __init__(self, console: Console, trials: int, steps: int) -> None:
        """trials: to run. steps: discriminator updates they need in all, the measure of pace."""
        self._console = console
        self._trials, self._steps = trials, steps
        self._done = self._steps_done = self._failed = 0
        self._running: set[str] = set()
        self._last, self._error = "", ""
        self._started = self._printed = time.monotonic()
        self._live = Live(console=console, refresh_per_second=2) if console.is_terminal else None

    def __enter__(self) -> "Progress":
        if self._live:
            self._live.__enter__()
        self._show(force=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._show(force=True)
        if self._live:
            self._live.__exit__(kind, error, trace)

    def started(self, trajectory_id: str) -> None:
        """A trajectory began."""
        self._running.add(trajectory_id)
        self._show()

    def sealed(self, name: str, steps: int) -> None:
        """A pass was sealed, `steps` updates after the one before."""
        self._done += 1
        self._steps_done += steps
        self._last = name
        self._show()

    def ended(self, trajectory_id: str, error: str | None = None) -> None:
        """A trajectory ended, or an attempt at it failed."""
        self._running.discard(trajectory_id)
        if error:
            self._failed += 1
            self._error = error
        self._show()

    def say(self, line: str) -> None:
        """Print a line for good."""
        self._console.print(line, markup=False, soft_wrap=True)

    def _show(self, force: bool = False) -> None:
        if self._live:
            self._live.update(self._table())
        elif force or time.monotonic() - self._printed >= LINE_SECONDS:
            self._printed = time.monotonic()
            self._console.print(
                f"{self._done}/{self._trials} trials, {len(self._running)} trajectories running, "
                f"{self._failed} failures, {self._left()} left"
                + (f"; last error: {self._error}" if self._error else ""),
                soft_wrap=True,
            )

    def _left(self) -> str:
        if not self._steps_done:
            return "unknown time"
        seconds = (time.monotonic() - self._started) * (self._steps / self._steps_done - 1)
        return f"{max(0, seconds) / 60:.1f} min"

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_row("trials", f"{self._done} of {self._trials}")
        table.add_row("running", f"{len(self._running)} trajectories")
        table.add_row("failures", str(self._failed))
        table.add_row("left", self._left())
        table.add_row("last", self._last)
        if self._error:
            table.add_row("last error", self._error)
        return table
