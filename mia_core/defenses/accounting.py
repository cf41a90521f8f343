"""Privacy accounting: epsilon of a history of Poisson-sampled Gaussian steps, and the noise for a target epsilon.

epsilon(delta) is an upper bound under add-or-remove-one neighbors: the smaller of opacus's PRV accountant (Gopi et al.
2021, arXiv 2106.02848) and its RDP accountant (Mironov et al. 2019, arXiv 1908.10530), both of which are valid. PRV was
compared with a bound from rounding losses down on a grid (sigma 0.3 to 100, rates 1/1000 to 1, 1 to 2,000 steps, delta
1e-2 to 1e-7; in either direction), and was never below it, except for an epsilon of 0, which it puts at -0.00004. PRV
returns infinity once losses exceed about 700, fails for delta near machine precision, and needs too much memory at
large epsilon. RDP has none of these problems, and is mostly 5 to 20 % looser.
"""

import contextlib
import json
import math
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from importlib.metadata import version
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
from scipy.optimize import brentq

from mia_core import private_files
from mia_core.data.cache import cache_folder
from mia_core.errors import Refused
from mia_core.hashing import canonical_json, content_id
from mia_core.opening import MEBIBYTE, read_regular
from mia_core.persons import RECORD, Unit

ACCOUNTING = 1
"""Version of this file's results; raise it if a change alters one."""

Entry = tuple[float, float, int]
"""(sigma, sampling rate, steps): noise multiplier >= 0, probability of a unit in a step in (0, 1], steps >= 0."""

History = tuple[Entry, ...]

EPSILON_ERROR = 0.01
"""PRV's error, which is added to its epsilon so that it remains an upper bound; larger if `POINTS` is exceeded."""

POINTS = 2**21
"""Maximal size of PRV's grid: a second or two and 400 MB; a larger loss gets a coarser grid."""

LARGEST_ERROR, LARGEST_LOSS, SMALLEST_DELTA = 0.5, 500.0, 1e-10
"""Beyond these limits only RDP is used."""

SIGMAS = (0.1, 1e4)
"""Range of noise multipliers for a target epsilon."""

DIGITS = 4
"""Significant digits of the noise multiplier for a target epsilon: few, so that it is the same on every machine."""

RENYI_SIGMA = 100.0
"""Noise multipliers up to here are searched by RDP. It is slow above, and cannot reach an epsilon below about 0.1."""

BRACKET = 0.3
"""Step of log sigma in the search: PRV's result is nearly always within one step below RDP's."""

ANSWERS: dict[str, Any] = {}
"""Known results by function and arguments. PRV takes up to seconds, so workers receive these results.

Every result is also stored beside the decoded pools (`MIA_STUDY_CACHE`).
"""

P = ParamSpec("P")
R = TypeVar("R")


def _remembered(function: Callable[P, R]) -> Callable[P, R]:
    @wraps(function)
    def remembered(*args: P.args, **kwargs: P.kwargs) -> R:
        key = content_id([function.__name__, args, kwargs, ACCOUNTING, version("opacus")])
        if key not in ANSWERS:
            path = cache_folder(None) / "accounting" / f"{key}.json"
            kept = _read(path)
            ANSWERS[key] = kept[0] if kept else function(*args, **kwargs)
            if not kept:
                _write(path, ANSWERS[key])
        answer: R = ANSWERS[key]
        return answer

    return remembered


def _read(path: Path) -> list[Any] | None:
    """A stored result, in a list; None if it is absent or damaged."""
    try:
        kept = json.loads(read_regular(path, MEBIBYTE))
        return [_tuple(kept["answer"])] if kept["check"] == content_id(kept["answer"]) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _write(path: Path, answer: Any) -> None:
    """Store a result if the folder is writable."""
    text = canonical_json({"answer": answer, "check": content_id(answer)})
    with contextlib.suppress(OSError):
        private_files.make_folder(path.parent)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            file.write(text)
        Path(file.name).replace(path)


def _tuple(answer: Any) -> Any:
    return tuple(answer) if isinstance(answer, list) else answer


class Accountant:
    """Counts the private steps of one trajectory as their noise is added."""

    def __init__(self, sigma: float, sampling_rate: float) -> None:
        self.sigma = sigma
        self.sampling_rate = sampling_rate
        self.steps = 0

    @property
    def history(self) -> History:
        """The steps so far."""
        return ((self.sigma, self.sampling_rate, self.steps),)

    def restore(self, history: Sequence[Sequence[float]]) -> None:
        """Continue another accountant's history; Refused if its noise or sampling rate differ."""
        if [tuple(entry[:2]) for entry in history] != [(self.sigma, self.sampling_rate)]:
            raise Refused(
                f"a state that has spent {list(history)} does not belong to an arm of sigma {self.sigma:g} and "
                f"sampling rate {self.sampling_rate:g}"
            )
        steps = history[0][2]
        self.steps = int(steps)


def epsilon(history: History, delta: float) -> float | None:
    """epsilon(delta) of private steps, delta in (0, 1); 0 before the first step, None if any step has no noise."""
    return profile(history, (delta,))[0]


@_remembered
def profile(history: History, deltas: tuple[float, ...]) -> tuple[float | None, ...]:
    """epsilon at each delta, from one grid with the error of the smallest delta; otherwise as `epsilon`.

    The values differ from those of `epsilon` by less than PRV's error.
    """
    if any(sigma == 0 for sigma, _, _ in history):
        return (None,) * len(deltas)
    history = tuple(entry for entry in history if entry[2])
    if not history:
        return (0.0,) * len(deltas)
    bounds = zip(_renyi(history, deltas), _prv(history, deltas), strict=True)
    return tuple(max(0.0, min(bound for bound in pair if math.isfinite(bound))) for pair in bounds)


def _renyi(history: History, deltas: Sequence[float]) -> list[float]:
    """Epsilons by RDP; always finite."""
    from mia_core import vision  # noqa: F401  opacus reaches torchvision, which may need help

    # isort: split
    from opacus.accountants.analysis.rdp import get_privacy_spent

    orders, _ = _renyi_step(*history[0][:2])
    rdp = sum(steps * _renyi_step(sigma, sampling_rate)[1] for sigma, sampling_rate, steps in history)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # for an optimum at the first or last order: loose, but still a bound
        return [float(get_privacy_spent(orders=orders, rdp=rdp, delta=delta)[0]) for delta in deltas]


@lru_cache(maxsize=64)
def _renyi_step(sigma: float, sampling_rate: float) -> tuple[list[float], np.ndarray]:
    """The orders, and the RDP of one step at each of them."""
    from mia_core import vision  # noqa: F401

    # isort: split
    from opacus.accountants.analysis.rdp import compute_rdp
    from opacus.accountants.rdp import RDPAccountant

    orders = RDPAccountant.DEFAULT_ALPHAS
    return orders, compute_rdp(q=sampling_rate, noise_multiplier=sigma, steps=1, orders=orders)


def _prv(history: History, deltas: Sequence[float]) -> list[float]:
    """Epsilons by PRV; infinite if it is out of its limits, or fails."""
    from mia_core import vision  # noqa: F401

    # isort: split
    from opacus.accountants import PRVAccountant

    unknown = [math.inf] * len(deltas)
    if min(deltas) < SMALLEST_DELTA:
        return unknown
    delta_error = min(deltas) / 1000
    (loss,) = _renyi(history, [delta_error / 4])
    steps = sum(steps for _, _, steps in history)
    points = 2 * (max(loss, 0) + 3) / EPSILON_ERROR * math.sqrt(steps * math.log(12 / delta_error) / 2)
    error = EPSILON_ERROR * max(1.0, points / POINTS)
    if error > LARGEST_ERROR or loss > LARGEST_LOSS:
        return unknown
    accountant = PRVAccountant()
    accountant.history = list(history)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            losses = accountant._get_dprv(eps_error=error, delta_error=delta_error)
            return [float(losses.compute_epsilon(delta, delta_error, error)[2]) for delta in deltas]
    except (RuntimeError, ValueError):  # opacus raises these if its grid is not accurate
        return unknown


@_remembered
def noise_multiplier(target_epsilon: float, delta: float, sampling_rate: float, steps: int) -> float:
    """The smallest sigma with `DIGITS` digits whose epsilon(delta) after `steps` steps does not exceed the target.

    epsilon is at most 0.5 % below the target, if its relative change is less than five times that of sigma. Refused if
    sigma is outside `SIGMAS`.
    """
    lowest, highest = (math.log(sigma) for sigma in SIGMAS)
    place = f"at delta {delta:g} after {steps} steps at sampling rate {sampling_rate:g}"

    def renyi_excess(log_sigma: float) -> float:
        return _renyi(((math.exp(log_sigma), sampling_rate, steps),), [delta])[0] - target_epsilon

    def reached(sigma: float) -> float:
        value = epsilon(((sigma, sampling_rate, steps),), delta)
        assert value is not None
        return value

    def excess(log_sigma: float) -> float:
        return reached(math.exp(log_sigma)) - target_epsilon

    # RDP is fast and its sigma is never too small: search downwards from it, and upwards only if RDP fails.
    high = math.log(RENYI_SIGMA)
    if renyi_excess(high) < 0:
        high = lowest if renyi_excess(lowest) < 0 else brentq(renyi_excess, lowest, high, xtol=0.01) + 0.01
    while excess(high) > 0:
        high += BRACKET
        if high > highest:
            raise Refused(f"target_epsilon {target_epsilon:g} {place} needs a sigma above {SIGMAS[1]:g}; raise it")
    low = high - BRACKET
    while excess(low) <= 0:
        low, high = low - BRACKET, low
        if high < lowest:
            raise Refused(f"target_epsilon {target_epsilon:g} {place} needs a sigma below {SIGMAS[0]:g}; lower it")
    root = math.exp(brentq(excess, low, high, xtol=10.0**-DIGITS / 10))
    scale = 10.0 ** (DIGITS - 1 - math.floor(math.log10(root)))
    sigma = math.ceil(root * scale)
    while reached(sigma / scale) > target_epsilon:
        sigma += 1
    return sigma / scale


def guarantee(epsilon: float | None, delta: float | None, unit: Unit = RECORD) -> str:
    """Text such as `epsilon 57.2 per record at delta 1e-05, add-or-remove-one`; `none` if epsilon is None or NaN."""
    if epsilon is None or math.isnan(epsilon):
        return "none"
    return f"epsilon {epsilon:.3g} per {unit} at delta {delta:g}, add-or-remove-one"
