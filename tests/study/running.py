"""Running trajectories of the small study in this process, and comparing what they sealed."""

import pandas as pd
import torch

from study.design.design_rows import design_rows
from study.design.work import missing_of
from study.run.runner import Runner
from study.store import read

KEY = bytes(range(32))
ARMS = (0, 1, 2)
AIMED = "{name: dp_sgd, target_epsilon: 20, clip: 1.0, delta: 1e-5}"


def run(design, store, trajectory=0):
    """Run what is missing on one trajectory; the passes it sealed."""
    trials = list(design.trajectories.values())[trajectory]
    return list(Runner(design, store, key=KEY).run(missing_of(trials, store)))


def kept(store, trial):
    return store.sealed_tensors(f"targets/{trial.trial_id}", trial.trial_id)[0]


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def table(design, store, name):
    """Rows without what may differ between equal runs."""
    store.publish(design.hash, design.spec.resolved, design_rows(design), {})
    frame = read(store.folder.parent, design.spec.study, name)
    return frame.drop(columns=["seconds", "seconds_train", "peak_bytes", "finished_at"], errors="ignore")


def assert_same_results(design, store, other):
    for name in ("trials", "quality", "attacks", "scores", "history"):
        keys = ["trial_id", "trajectory_id", "attack_id", "measure_id", "query", "epoch"]
        frames = [table(design, s, name) for s in (store, other)]
        keys = [key for key in keys if key in frames[0]]
        first, second = (frame.sort_values(keys).reset_index(drop=True) for frame in frames)
        pd.testing.assert_frame_equal(first, second)
