"""`python -m tests.faults.counted ...`: study.sweep, whose workers write down each training step in the file $STEPS,
and in `$STEPS.devices` the GPUs each trajectory sees from start to end.

With $RAISES set, its Euclidean attack raises that text; $STORAGE_SECONDS is how long it waits for storage.
"""

import os
import sys

from mia_core.attacks import Euclidean
from mia_core.training import Trainer
from study import scheduling, sweep
from study.machine import terminate_in_order

plain = scheduling.run_trajectory
lines = os.environ["STEPS"]
text = os.environ.get("RAISES")
scheduling.STORAGE_SECONDS = float(os.environ.get("STORAGE_SECONDS", scheduling.STORAGE_SECONDS))


def tell(path, *words):
    """Append a line, in one write."""
    with open(path, "a") as file:  # noqa: PTH123
        file.write(" ".join(map(str, words)) + "\n")


def run_trajectory(config, shared, results, code):
    """In a worker: the same, watched."""
    taken = Trainer._batch

    def counted(self):
        tell(lines, config["trajectory"], self.step)
        return taken(self)

    def broken(*arguments):
        raise RuntimeError(text)

    Trainer._batch = counted
    if text:
        Euclidean.run = broken
    device = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    tell(f"{lines}.devices", config["trajectory"], "start", device)
    try:
        plain(config, shared, results, code)
    finally:
        tell(f"{lines}.devices", config["trajectory"], "end", device)
        Trainer._batch = taken


if __name__ == "__main__":
    scheduling.run_trajectory = run_trajectory
    terminate_in_order()
    sys.exit(sweep.main())
