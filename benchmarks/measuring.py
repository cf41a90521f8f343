"""How a benchmark measures: alternatives timed in turns in one process, and the peak memory of one in a fresh process.

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
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_TOP_PAD_": "0"}
"""glibc reads these when a process starts."""
FEWEST_ROUNDS = 3


def interleaved(
    steps: Mapping[str, Callable[[], object]], rounds: int, seconds: float, device: str
) -> dict[str, np.ndarray]:
    """Seconds [rounds] that each step took, one after the other in each round, in random order.

    Stops after `rounds`, or before when `seconds` are spent, but not before the third.
    """
    order = random.Random(0)
    found: dict[str, list[float]] = {name: [] for name in steps}
    started = time.perf_counter()
    for number in range(rounds):
        if number >= FEWEST_ROUNDS and time.perf_counter() - started > seconds:
            break
        for name in order.sample(list(steps), len(steps)):
            begun = time.perf_counter()
            steps[name]()
            synchronize(device)
            found[name].append(time.perf_counter() - begun)
    return {name: np.array(values) for name, values in found.items()}


def synchronize(device: str) -> None:
    """Wait for what a CUDA device was asked."""
    if device == "cuda":
        torch.cuda.synchronize()


def spread(ratios: np.ndarray) -> str:
    """The median and its 10-90 % range over rounds."""
    low, median, high = np.quantile(ratios, (0.1, 0.5, 0.9))
    return f"{median:.2f} ({low:.2f}-{high:.2f})"


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
