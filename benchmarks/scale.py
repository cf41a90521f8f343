"""`python -m benchmarks scale [--gpus 1000] [--trials 1000000] ...`: a large study on a large cluster, simulated.

GPUs are cut into slots; a slot takes a trajectory, and after each of its levels the driver, who does one thing at a
time, takes note of a trial; at the end he gives the slot its next trajectory. What driver and workers cost is given
(docs/scale.md says how the defaults were measured), how long trials take is drawn. Printed for each mean length: how
long the study takes beside slots that never wait, how busy slots and driver are, how long notes wait for the driver.
"""

import argparse
import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Study:
    """A study and its cluster. seconds_*: of the driver a trial and a trajectory, of a slot a trajectory."""

    gpus: int
    share: float
    trials: int
    levels: int
    seconds_trial: float
    spread: float
    driver_trial: float
    driver_trajectory: float
    worker_trajectory: float

    @property
    def slots(self) -> int:
        """Trials at once."""
        return int(self.gpus / self.share)


@dataclass(frozen=True)
class Run:
    """seconds: of the whole study; ideal: if slots never waited. Busy: shares in [0, 1]. Waits: seconds."""

    seconds: float
    ideal: float
    slots_busy: float
    driver_busy: float
    wait_median: float
    wait_most: float


def simulate(study: Study, seed: int = 0) -> Run:
    """One run of the study, trajectories in random order of length; lengths are log-normal with the mean given."""
    trajectories = -(-study.trials // study.levels)
    random = np.random.default_rng(seed)
    draws = random.lognormal(-(study.spread**2) / 2, study.spread, trajectories) * study.seconds_trial
    lengths = iter(draws.tolist())
    # (time, slot, levels still to come, length of a level)
    begun = [
        (study.worker_trajectory + length, slot, study.levels - 1, length) for slot, length in _first(lengths, study)
    ]
    heapq.heapify(begun)
    free, worked, waits, end = 0.0, 0.0, [], 0.0
    while begun:
        now, slot, left, length = heapq.heappop(begun)
        start = max(now, free)
        waits.append(start - now)
        free = start + study.driver_trial
        if left:  # a worker goes on by itself
            heapq.heappush(begun, (now + length, slot, left - 1, length))
        elif (following := next(lengths, None)) is not None:
            free += study.driver_trajectory
            heapq.heappush(begun, (free + study.worker_trajectory + following, slot, study.levels - 1, following))
        worked = free
        end = max(end, free)
    work = float(draws.sum()) * study.levels
    driver = study.trials * study.driver_trial + trajectories * study.driver_trajectory
    ordered = np.sort(waits)
    return Run(
        seconds=end,
        ideal=work / study.slots,
        slots_busy=work / (study.slots * end),
        driver_busy=min(1.0, driver / worked),
        wait_median=float(ordered[len(ordered) // 2]),
        wait_most=float(ordered[-1]),
    )


def _first(lengths: Iterator[float], study: Study) -> list[tuple[int, float]]:
    """A trajectory for each slot, while there are any."""
    return [(slot, length) for slot, length in zip(range(study.slots), lengths, strict=False)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate and print; 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks scale", description=__doc__.splitlines()[0])
    parser.add_argument("--gpus", type=int, default=1000)
    parser.add_argument("--share", type=float, default=0.25, help="of a GPU, a trial")
    parser.add_argument("--trials", type=int, default=1_000_000)
    parser.add_argument("--levels", type=int, default=5, help="trials a trajectory")
    parser.add_argument("--seconds", type=float, nargs="+", default=[3, 10, 30, 100, 300], help="of a slot a trial")
    parser.add_argument("--spread", type=float, default=0.5, help="standard deviation of the logarithm of the seconds")
    parser.add_argument("--driver-trial", type=float, default=0.0006, help="seconds of the driver a trial")
    parser.add_argument("--driver-trajectory", type=float, default=0.012, help="seconds of the driver a trajectory")
    parser.add_argument("--worker-trajectory", type=float, default=0.05, help="seconds of a slot a trajectory, idle")
    options = parser.parse_args(arguments)
    print(
        "| s a trial | hours | hours if none waited | slots busy | driver busy | wait for the driver, median | most |"
    )
    print("|---" * 7 + "|")
    for seconds in options.seconds:
        study = Study(
            options.gpus, options.share, options.trials, options.levels, seconds, options.spread,
            options.driver_trial, options.driver_trajectory, options.worker_trajectory,
        )  # fmt: skip
        run = simulate(study)
        print(
            f"| {seconds:g} | {run.seconds / 3600:.2f} | {run.ideal / 3600:.2f} | {run.slots_busy:.1%} "
            f"| {run.driver_busy:.1%} | {run.wait_median:.3f} s | {run.wait_most:.1f} s |",
            flush=True,
        )
    return 0
