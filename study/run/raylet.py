"""The raylet of a Ray of our own: where it dies, Ray soon ends the driver in the midst of a line, with exit code 1."""

import contextlib
import os
import select
import threading
from collections.abc import Iterator

import ray
from ray._private import ray_constants

from study.outcomes import AGAIN
from study.terminal import say

DIED = (
    "Ray's raylet on this machine was ended from outside, as by a kernel that has no memory left, so this sweep may "
    f"end at any moment; {AGAIN}"
)


def raylet() -> int | None:
    """The process that this one has started; None in a cluster that others have."""
    node = ray._private.worker._global_node
    started = node.all_processes.get(ray_constants.PROCESS_TYPE_RAYLET) if node else None
    return started[0].process.pid if started else None


@contextlib.contextmanager
def warned_when_it_dies(process: int | None) -> Iterator[None]:
    """Say DIED on stderr if a child process ends in here: at that moment, for afterwards this process may be no more.

    Nothing where there is none, or no descriptor of a process (systems other than Linux).
    """
    try:
        descriptor = os.pidfd_open(process) if process is not None else None
    except (AttributeError, OSError):
        descriptor = None
    if descriptor is None:
        yield
        return
    leaving, leave = os.pipe()

    def watch() -> None:
        both = select.poll()  # select takes no descriptor above 1023
        for one in (descriptor, leaving):
            both.register(one, select.POLLIN)
        if descriptor in dict(both.poll()):
            say(DIED, stderr=True)

    thread = threading.Thread(target=watch, name="raylet", daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.write(leave, b"x")
        thread.join()
        for one in (descriptor, leaving, leave):
            os.close(one)
