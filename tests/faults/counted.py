"""`python -m tests.faults.counted ...`: study.sweep, whose workers write down each training step in the file $STEPS,
and in `$STEPS.devices` the GPUs each trajectory sees from start to end.

With $RAISES set, its Euclidean attack raises that text; $STORAGE_SECONDS is how long it waits for storage,
$STEP_SECONDS how long each training step is made to wait, and $SYNC_SECONDS each fsync, as on a slow disk. With
$GPU_BYTES set, each GPU is taken to have so many, and trials to take $PEAK_BYTES; those that get less of it run out of
memory.
"""

import os
import sys
import time

import torch

from mia_core.attacks import Euclidean
from mia_core.training import Trainer
from study.cli.main import main
from study.plan import packing
from study.run import runner, scheduling, trial_row

plain = scheduling.run_trajectory
total, peak = int(os.environ.get("GPU_BYTES", 0)), int(os.environ.get("PEAK_BYTES", 0))
lines = os.environ.get("STEPS", "")
text = os.environ.get("RAISES")
pause, sync_pause = (float(os.environ.get(name, 0)) for name in ("STEP_SECONDS", "SYNC_SECONDS"))


def replace(owner, name, value):
    """Put something in place of what is there; what was renamed is no fault that is injected."""
    assert hasattr(owner, name), f"{owner} has no {name} to be replaced"
    setattr(owner, name, value)


def tell(path, *words):
    """Append a line, in one write."""
    with open(path, "a") as file:  # noqa: PTH123
        file.write(" ".join(map(str, words)) + "\n")


def measure():
    """A GPU that is not there."""
    return packing.Gpu("made up", total, 0)


def run_trajectory(config, shared, results, code):
    """In a worker: the same, watched."""
    taken, synced = Trainer.batch, os.fsync

    def counted(self):
        tell(lines, config["trajectory"], self.step)
        time.sleep(pause)
        return taken(self)

    def slow(descriptor):
        time.sleep(sync_pause)
        synced(descriptor)

    def broken(*arguments):
        raise RuntimeError(text)

    def short(self):
        raise torch.OutOfMemoryError("out of memory")

    replace(Trainer, "batch", counted)
    if sync_pause:
        replace(os, "fsync", slow)
    if total:
        replace(trial_row, "device_name", lambda device: "made up")
        for module in (runner, trial_row):
            replace(module, "peak_bytes", lambda device: peak)
        if config["memory"] * total < peak:
            replace(Trainer, "batch", short)
    if text:
        replace(Euclidean, "run", broken)
    device = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    tell(f"{lines}.devices", config["trajectory"], "start", device, config["gpus"])
    try:
        plain(config, shared, results, code)
    finally:
        tell(f"{lines}.devices", config["trajectory"], "end", device, config["gpus"])
        replace(Trainer, "batch", taken)
        replace(os, "fsync", synced)


if __name__ == "__main__":
    replace(scheduling, "STORAGE_SECONDS", float(os.environ.get("STORAGE_SECONDS", scheduling.STORAGE_SECONDS)))
    replace(scheduling, "run_trajectory", run_trajectory)
    if total:
        replace(packing, "measure", measure)
    sys.exit(main(["sweep", *sys.argv[1:]], process=True))
