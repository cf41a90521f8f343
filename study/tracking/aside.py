"""MLflow beside a sweep, on a separate thread: the first trial does not wait for it, and the exit not for long."""

import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from types import TracebackType

from mia_core.errors import Refused
from study.store import Damaged
from study.tracking.run_content import Begun
from study.tracking.tracker import Tracker

END_SECONDS = 60.0
"""How long a sweep waits at its end for what MLflow still lacks; `mia-study track` fills in the rest."""
CALL_SECONDS = 15.0
"""How long one call of MLflow that is under way then may take: three attempts of three seconds, and pauses."""


class TrackerAside:
    """Passes calls on to a tracker, in order; every method but `finish` returns at once.

    It connects at the first call: by then trials run, and nothing is imported beside Ray.
    A block that ends by an error waits for the call that is under way and drops all others: a thread that is still
    inside of a library when the interpreter ends may abort it.
    """

    def __init__(self, tracker: Tracker, warn: Callable[[str], None]) -> None:
        self._tracker = tracker
        self._warn = warn
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._bug: BaseException | None = None
        self._failed = False

    def __enter__(self) -> "TrackerAside":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread.is_alive():
            self._drop()
            self._stop(lambda: self._tracker.close(complete=False), 0.0)

    @property
    def behind(self) -> bool:
        """Whether MLflow lacks something that is sealed."""
        return self._failed or self._tracker.behind or self._thread.is_alive()

    def begin(self, trials: Callable[[], Sequence[Begun]]) -> None:
        """Show runs of trials that begin. trials: makes them, on the thread."""
        self._queue.put(lambda: self._tracker.begin(trials()))

    def end(self, trial_ids: Sequence[str]) -> None:
        """Training of these failed, unless they are sealed."""
        self._queue.put(lambda: self._tracker.end(trial_ids))

    def log(self, trial_id: str) -> None:
        """A trial was sealed."""
        self._queue.put(lambda: self._tracker.log(trial_id))

    def catch_up(self) -> None:
        """All trials are sealed that will be: log what is missing, and connect again where MLflow was away."""
        self._queue.put(self._tracker.reconcile)

    def finish(self, complete: bool) -> None:
        """Wait for what is still to be logged, END_SECONDS at most and a call; the thread ends."""
        self._stop(lambda: self._tracker.close(complete), END_SECONDS)
        if self._bug:
            raise self._bug

    def _stop(self, last: Callable[[], None], seconds: float) -> None:
        self._tracker.until = time.monotonic() + seconds
        self._queue.put(last)
        self._queue.put(None)
        self._thread.join(seconds + CALL_SECONDS)

    def _drop(self) -> None:
        try:
            while True:
                self._queue.get_nowait()
        except Empty:
            return

    def _work(self) -> None:
        call = self._queue.get()
        self._do(self._tracker.start)
        while call is not None and self._bug is None:
            self._do(call)
            call = self._queue.get()

    def _do(self, call: Callable[[], None]) -> None:
        try:
            call()
        except (Damaged, Refused, OSError) as error:
            self._failed = True
            self._warn(f"not in MLflow: {error}")
        except Exception as error:
            self._failed, self._bug = True, error
