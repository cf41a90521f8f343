"""What a worker keeps of a trajectory when it goes on to the next one: nothing."""

import gc
import subprocess
import sys

import pytest
import torch

from mia_core.training import Trainer
from study.machine import begin_memory
from study.run import scheduling
from tests.small import small_spec

FEW = ("factors.train_size=[40]", "factors.epochs=[1]", "quality.measures=[]", "replicates=25",
       "controls={blind: false, nulls: 0, copycat: false}",
       "attacks=[white_box, {name: euclidean, generated: 64}]")  # fmt: skip
FLAT = """
import os, sys
from study.run import scheduling
from tests.study.test_actor_memory import FEW, trajectories

pages, seen = os.sysconf("SC_PAGE_SIZE"), []
for _ in trajectories(sys.argv[1], *FEW):
    with open("/proc/self/statm") as file:
        seen.append(int(file.read().split()[1]) * pages)
print(len(seen), max(seen[30:]) - max(seen[10:20]))
"""


def trajectories(folder, *settings):
    """Run a study's trajectories one after another as one worker of Ray does."""
    from mia_core.data import load_pool
    from study.design.study_design import Design

    spec = small_spec(*settings)
    design = Design(spec, load_pool(spec.data))
    scheduling.tune.report = lambda metrics: None
    scheduling._unpacked = lambda kept: kept
    for name in design.trajectories:
        config = {"trajectory": name, "gpus": 0.0, "memory": 1.0}
        scheduling.run_trajectory(config, [design], folder, {})
        yield name


def test_no_trainer_and_no_tensor_of_an_earlier_trajectory_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(scheduling.tune, "report", scheduling.tune.report)
    monkeypatch.setattr(scheduling, "_unpacked", scheduling._unpacked)
    counts = []
    elsewhere = {id(item) for item in gc.get_objects() if type(item) is Trainer}  # kept by fixtures of other tests
    for _ in trajectories(str(tmp_path), *FEW, "replicates=2", "factors.defense=[none, {name: dropout, rate: 0.5}]"):
        begin_memory(1.0)
        living = gc.get_objects()
        assert not [item for item in living if type(item) is Trainer and id(item) not in elsewhere]
        counts.append(sum(issubclass(type(item), torch.Tensor) for item in living))
        del living
    assert len(counts) == 4
    assert counts[1:] == [counts[1]] * 3


@pytest.mark.slow
def test_memory_of_a_worker_stays_flat_over_many_trajectories(tmp_path):
    command = [sys.executable, "-c", FLAT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    count, grown = map(int, done.stdout.split())
    assert count == 75
    assert grown < 16 * 2**20, f"{grown} bytes more after {count - 30} trajectories"
