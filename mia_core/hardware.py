"""Processors and memory that this process may use, within a container's limits (cgroup v1 and v2)."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc/self/cgroup")
MOUNT = Path("/sys/fs/cgroup")
UNLIMITED = 2**60
"""A memory limit of at least so many bytes means no limit: cgroup v1 writes the largest whole number of pages."""


def cpus() -> int:
    """Processors that this process may use, by its affinity (where the system has one) and by its container's quota.

    A quota of 1.5 processors counts as two, which the quota throttles, rather than one, which would leave some unused.
    """
    try:
        count = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # affinity exists on Linux only
        count = os.cpu_count() or 1
    return max(1, min([count, *(math.ceil(quota) for quota in _quotas())]))


def memory_bytes() -> int:
    """Memory in bytes of the machine, or of the container if that is less."""
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_memory_limits()])


def _quotas() -> Iterator[float]:
    for folder in _groups("cpu"):
        period = _number(folder / "cpu.cfs_period_us")
        quota = _number(folder / "cpu.cfs_quota_us")
        if period and quota and quota > 0:
            yield quota / period
        words = _text(folder / "cpu.max").split()
        if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]):
            yield int(words[0]) / int(words[1])


def _memory_limits() -> Iterator[int]:
    for folder in _groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = _number(folder / name)
            if limit is not None and 0 < limit < UNLIMITED:
                yield limit


def _groups(controller: str) -> Iterator[Path]:
    """Folders of this process's control group and of its ancestors, each of which limits the process.

    In a container the group's name is often the host's, while its files lie at the mount's root, which is also listed.
    """
    for line in _text(PROC).splitlines():
        _, _, rest = line.partition(":")
        names, _, group = rest.partition(":")
        controllers = names.split(",")
        if names and controller not in controllers:
            continue
        roots = [MOUNT / word for word in dict.fromkeys((names, controller))] if names else [MOUNT, MOUNT / "unified"]
        for root in roots:
            own = root / group.lstrip("/")
            yield from (folder for folder in (own, *own.parents) if folder == root or root in folder.parents)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):  # no such limit, or no cgroups
        return ""


def _number(path: Path) -> int | None:
    try:
        return int(_text(path))
    except ValueError:  # `max`, or nothing
        return None
