"""The process and the machine a trial runs on: device, threads, versions, memory."""

import gc
import hashlib
import itertools
import os
import platform
import resource
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch

PROJECT = Path(__file__).parents[1]

SETTLED = 2
"""So many trials of a process have imported, and made, all that lasts as long as it does."""
_begun = itertools.count(1)


def versions() -> dict[str, Any]:
    """What the bits of a result depend on besides its config."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "threads": torch.get_num_threads(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
    }


def pick_device() -> str:
    """`cuda` where a GPU was given to this process, else `cpu`; one thread, and repeatable kernels."""
    torch.set_num_threads(1)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    return "cuda" if torch.cuda.is_available() else "cpu"


def keep_to_owner() -> None:
    """What libraries write in this process is for its owner alone; our own files are so by themselves."""
    os.umask(0o077)


def terminate_in_order() -> None:
    """SIGTERM does what Ctrl-C does: Python and Tune end in order on SIGINT only."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: Any) -> None:
    """A shell without job control has what it starts with `&` ignore SIGINT; that is no reason to ignore SIGTERM."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)


def leave_with_the_reader() -> None:
    """A command that only prints ends without a word when its reader has gone, as in `| head`."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def peak_bytes(device: str) -> int:
    """Peak memory of this process: on the GPU where there is one, else resident."""
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def begin_memory(fraction: float) -> None:
    """Free what an earlier trial of this process left, and count its peak anew.

    What lasts is not looked through each time, which takes a third of a second of a worker that has torch and Ray.
    fraction: of a GPU's memory that tensors may take, so that who takes more fails, and not who shares the GPU.
    """
    gc.collect()
    if next(_begun) <= SETTLED:
        gc.freeze()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.set_per_process_memory_fraction(fraction)


def device_name(device: str) -> str:
    """The GPU's name, or `cpu`."""
    return torch.cuda.get_device_name() if device == "cuda" else "cpu"


def code_versions() -> dict[str, str]:
    """The project's git commit, and a hash of the pinned versions it is installed with; `unknown` without."""
    lock = PROJECT / "constraints.txt"
    return {
        "git_commit": _git_commit(),
        "lock": hashlib.sha256(lock.read_bytes()).hexdigest()[:16] if lock.is_file() else "unknown",
    }


def _git_commit() -> str:
    try:
        command = ["git", "rev-parse", "HEAD"]
        found = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    except OSError:  # no git on this machine, and none is needed
        return "unknown"
    return found.stdout.strip() or "unknown"
