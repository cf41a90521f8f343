"""Hostile cases counted by kind: what each did, and the one table of all."""

import contextlib
import io
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TRACEBACK, WRONG, FOLLOWED, USELESS = "traceback", "wrong number", "followed link", "useless advice"
FAULTS = (TRACEBACK, WRONG, FOLLOWED, USELESS)
BUG = ("Traceback (most recent call last)", "This is a bug")


@dataclass(frozen=True)
class Outcome:
    """What one case did. kind: of what was made. case: where, and who read it. fault: one of FAULTS; None is well."""

    kind: str
    case: str
    fault: str | None = None
    words: str = ""


@dataclass(frozen=True)
class Sample:
    """Which cases of a group are tried: all, `most` of them, or as many as are begun in `seconds` of processor time.

    seed: where a part begins; each beginning of it is spread evenly over all.
    """

    most: int | None = None
    seconds: float | None = None
    seed: int = 0

    def of(self, cases: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Numbers and cases."""
        order = list(range(len(cases)))
        if self.most is not None or self.seconds is not None:
            start = self.seed * SILVER
            order.sort(key=lambda number: (start + number * GOLDEN) % 1)
        begun = time.process_time()
        for number in order[: self.most]:
            if self.seconds is not None and time.process_time() - begun > self.seconds:
                return
            yield number, cases[number]


GOLDEN, SILVER = (5**0.5 - 1) / 2, 2**0.5 - 1
"""Multiples of the first, less their whole parts, are spread as evenly as can be."""
EVERY = Sample()
Group = Callable[[Path, Sample], Iterator[Outcome]]
"""Makes cases of some kinds in an empty folder, and tries those of a sample."""


class Clock:
    """Time since it was made: of this process's work, which other programs do not lengthen, and by the wall."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.monotonic()

    def over(self, seconds: float, waiting: float = 120.0) -> bool:
        """Whether more seconds of work have gone by, or more by the wall, where a command may wait for something."""
        return time.process_time() - self._cpu > seconds or time.monotonic() - self._wall > waiting


def asked(command: Callable[[], int]) -> tuple[int, str]:
    """Exit code of a command, and all that it printed; -1 where it raised, with the traceback."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = command()
        except SystemExit as end:
            code = int(end.code or 0)
        except Exception:
            code = -1
            traceback.print_exc()
    return code, said.getvalue()


def is_bug(code: int, said: str) -> bool:
    """Whether a command met what its authors did not think of."""
    return code not in (0, 1, 2) or any(word in said for word in BUG)


def counted(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """All, with a line for each fault as it comes."""
    found = []
    for outcome in outcomes:
        found.append(outcome)
        if outcome.fault:
            last = outcome.words.strip().splitlines()[-1:] or [""]
            print(f"{outcome.fault}: {outcome.kind}: {outcome.case}: {last[0][:300]}", flush=True)
    return found


_HEAD = {"cases": "cases", **{fault: f"{fault}s".replace("advices", "advice") for fault in FAULTS}}


def table(outcomes: Iterable[Outcome]) -> list[str]:
    """A line for each kind: how many cases, and how many faults of each sort."""
    rows: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        rows.setdefault(outcome.kind, Counter()).update(["cases", *([outcome.fault] if outcome.fault else [])])
    wide = max(map(len, rows), default=0)
    return [
        f"{kind:{wide}} {row['cases']:>6} {row[TRACEBACK]:>11} {row[WRONG]:>14} {row[FOLLOWED]:>15} {row[USELESS]:>14}"
        for kind, row in {"kind": _HEAD, **rows}.items()
    ]
