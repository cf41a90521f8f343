"""How a benchmark measures: alternatives timed in turns in one process, the peak memory of one in a fresh process, and
wall and CPU time of a command with all processes that it starts.

Resident memory on a CPU: the kernel's high-water mark is reset just before (/proc/self/clear_refs), and read after
(VmHWM in /proc/self/status); what was resident before is taken off. So all pages the process touches count: tensors,
scratch of the libraries, buffers of the allocator. Fresh processes give blocks of 64 KB and more back as they are freed
(MALLOC), so that a mark is of what was in use together. The kernel counts to about 0.25 MB. On CUDA: torch's own count
of allocated bytes.
"""

import multiprocessing
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_TOP_PAD_": "0"}
"""glibc reads these when a process starts."""
FEWEST_ROUNDS = 3
POLL_SECONDS = 0.2
TICKS = os.sysconf("SC_CLK_TCK")
PROJECT = Path(__file__).parents[1]


def interleaved(
    steps: Mapping[str, Callable[[], object]],
    rounds: int,
    seconds: float,
    device: str,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, np.ndarray]:
    """Seconds [rounds], by a clock, that each step took, one after the other in each round, in random order.

    Stops after `rounds`, or before when `seconds` are spent, but not before the third.
    """
    order = random.Random(0)
    found: dict[str, list[float]] = {name: [] for name in steps}
    started = time.perf_counter()
    for number in range(rounds):
        if number >= FEWEST_ROUNDS and time.perf_counter() - started > seconds:
            break
        for name in order.sample(list(steps), len(steps)):
            begun = clock()
            steps[name]()
            synchronize(device)
            found[name].append(clock() - begun)
    return {name: np.array(values) for name, values in found.items()}


def synchronize(device: str) -> None:
    """Wait for what a CUDA device was asked."""
    if device == "cuda":
        torch.cuda.synchronize()


def spread(ratios: np.ndarray) -> str:
    """The median and its 10-90 % range over rounds."""
    low, median, high = np.quantile(ratios, (0.1, 0.5, 0.9))
    return f"{median:.2f} ({low:.2f}-{high:.2f})"


def table(title: str, columns: Sequence[str], rows: Iterable[list[str]]) -> None:
    """Print a table in Markdown, each row as soon as it is known."""
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def peak_megabytes(step: Callable[[], object], device: str) -> float | None:
    """Peak memory during a step above what stood before; None where the kernel does not let its mark be reset."""
    if device == "cuda":
        synchronize(device)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        synchronize(device)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    before = _status("VmRSS")
    step()
    return (_status("VmHWM") - before) / 2**10


def _status(key: str) -> int:
    found = re.search(rf"^{key}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found, f"/proc/self/status has no {key}"
    return int(found[1])


def in_fresh_process(function: Callable[..., Any], *arguments: object, preload: Sequence[str]) -> Any:
    """A function's result in a process of its own, forked from one that only imported the modules of `preload`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    with mock.patch.dict(os.environ, MALLOC), ProcessPoolExecutor(1, mp_context=context) as executor:
        return executor.submit(function, *arguments).result()


@dataclass(frozen=True)
class Spent:
    """What a command took. cpu: user and system seconds, of it and of all processes that it started."""

    wall: float
    cpu: float


def timed_module(module: str, *arguments: str, folder: Path) -> Spent:
    """`python -m module ...` with `folder` as working directory; RuntimeError with its last words when it fails.

    The CPU time of processes that nobody waits for, as of Ray's workers, is what /proc said of them a fifth of a second
    before their end, at the latest.
    """
    command = [sys.executable, "-m", module, *arguments]
    # Ray's workers would give way to everything else on the machine, and scripts would not.
    settings = {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
    environment = {**os.environ, **settings}
    with (folder / "output.txt").open("w+") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        seen: dict[tuple[int, int], float] = {}
        status = None
        try:
            while status is None:
                _look(process.pid, seen)
                time.sleep(POLL_SECONDS)
                ended, code, usage = os.wait4(process.pid, os.WNOHANG)
                status = os.waitstatus_to_exitcode(code) if ended else None
        except BaseException:  # in a session of its own, it has not seen Ctrl-C
            process.terminate()
            raise
        wall = time.perf_counter() - started
        process.returncode = status
        if status:
            output.seek(0)
            raise RuntimeError(f"{' '.join(command)} failed:\n{output.read()[-2000:]}")
    return Spent(wall, max(sum(seen.values()), usage.ru_utime + usage.ru_stime))


def _look(root: int, seen: dict[tuple[int, int], float]) -> None:
    """Note the CPU seconds of a process and its descendants, by process id and start.

    Orphans are known by their session, or from before.
    """
    processes = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended since
            continue
        # Fields from the third of proc(5): parent, session, user and system time in ticks, start.
        parent, session, *times, start = (int(fields[place]) for place in (1, 3, 11, 12, 19))
        processes[int(path.name)] = (parent, session, sum(times), start)
    ours = {pid for pid, (_, session, _, start) in processes.items() if session == root or (pid, start) in seen}
    ours.add(root)
    grown = True
    while grown:
        children = {pid for pid, (parent, *_) in processes.items() if parent in ours} - ours
        ours |= children
        grown = bool(children)
    for pid in ours & processes.keys():
        *_, ticks, start = processes[pid]
        seen[pid, start] = ticks / TICKS
