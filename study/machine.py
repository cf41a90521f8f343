"""The process and the machine a trial runs on: device, threads, versions, memory."""

import gc
import hashlib
import itertools
import os
import platform
import resource
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mia_core import hardware
from mia_core.errors import Refused

PROJECT = Path(__file__).parents[1]

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
"""With buffers of a fixed size, cuBLAS gives the same bits in every run."""
NOT_REPEATABLE = "does not have a deterministic implementation"
"""Words of torch's error for an operation without a repeatable kernel."""

OPEN_FILES, OPEN_FILES_OF_A_TRIAL = 100, 4
"""Open files that Ray needs, and more for each trial at once; 50, and 3 per trial, were counted."""
SETTLED = 2
"""After this many trials a process has made all objects that stay as long as it lives."""
_begun = itertools.count(1)


def versions() -> dict[str, Any]:
    """What the bits of a result depend on besides its config."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
    }


def pick_device(gpus: float = 1.0) -> str:
    """`cuda` where this process has a GPU, else `cpu`; one thread, repeatable kernels, and float32 in full precision.

    An operation without a repeatable kernel raises, see `explaining_kernels`. Must run before the process's first
    product on a GPU.

    gpus: the share of one that Ray gave to this process; with 0, Ray may leave GPUs visible that are others'.
    """
    torch.set_num_threads(1)
    os.environ.setdefault(*WORKSPACE)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return "cuda" if gpus > 0 and torch.cuda.is_available() else "cpu"


@contextmanager
def explaining_kernels() -> Iterator[None]:
    """Say what to do where an operation has no repeatable kernel on this device, which is a RuntimeError."""
    try:
        yield
    except RuntimeError as error:
        operation, found, _ = str(error).partition(NOT_REPEATABLE)
        if not found:
            raise
        raise RuntimeError(
            f"{operation}{found} on this device, so that a result would not repeat: compute on CPUs, by "
            "compute.gpus_per_trial=0, if they have one, or put another operation in its place"
        ) from error


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


def slots() -> int:
    """Trials at once that this machine's processors run, and its limit of open files allows, which is raised if it can.

    Refused where that allows none.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):  # some systems take no number that high
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    allowed = hardware.cpus() if soft == resource.RLIM_INFINITY else (soft - OPEN_FILES) // OPEN_FILES_OF_A_TRIAL
    if allowed < 1:
        least = OPEN_FILES + OPEN_FILES_OF_A_TRIAL
        raise Refused(f"ulimit -n {soft}: Ray opens at least {least} files at once; raise it, as by `ulimit -n 4096`")
    return min(hardware.cpus(), allowed)


def require_home() -> None:
    """Refused where no home folder is known: Ray and MLflow do not even start then."""
    try:
        found = Path.home()
    except RuntimeError:
        found = Path()
    if not found.is_absolute():
        raise Refused(
            f"HOME: no home folder is known for user {os.getuid()}, and Ray needs one; name a folder of this user, "
            'such as HOME="$PWD"'
        )


def scratch_base() -> Path:
    """Where temporary files go. Refused, with the way out, where there is no such folder that can be written."""
    try:
        return Path(tempfile.gettempdir()).absolute()
    except OSError:
        named = os.environ.get("TMPDIR")
        raise Refused(
            f"TMPDIR: {'/tmp' if named is None else named}: no folder for temporary files can be written, nor any "
            "other usual one; name one by TMPDIR, or make room there"
        ) from None


@contextmanager
def scratch_folder(prefix: str = "mia-study-") -> Iterator[str]:
    """A folder that is gone in the end; Refused where none can be made."""
    base = scratch_base()
    try:
        folder = tempfile.TemporaryDirectory(prefix=prefix, dir=base)
    except OSError as error:
        raise Refused(f"TMPDIR: {base}: cannot be written: {error.strerror}; name another folder by TMPDIR") from None
    with folder as name:
        yield name


def _git_commit() -> str:
    """Of the checkout that this is; not of somebody's own repository whose virtual environment this is installed in."""
    try:
        command = ["git", "rev-parse", "--show-toplevel", "HEAD"]
        found = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    except OSError:  # no git on this machine, and none is needed
        return "unknown"
    top, _, commit = found.stdout.strip().rpartition("\n")
    return commit if top and Path(top).resolve() == PROJECT.resolve() else "unknown"
