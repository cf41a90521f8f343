"""Trials that share an array, handed over as a sweep hands over its data: how large it is, and how many there were."""

import tempfile

import numpy as np
import ray
from ray import tune

ARRAY = np.random.default_rng(0).integers(0, 256, 64 * 2**20, dtype=np.uint8)
TRIALS = 8


def trial(config, shared):
    tune.report({"sum": int(ray.get(shared[0])[:: 2**16].sum())})


if __name__ == "__main__":
    ray.init(address="auto")
    with tempfile.TemporaryDirectory() as scratch:
        grid = tune.Tuner(
            tune.with_resources(tune.with_parameters(trial, shared=[ray.put(ARRAY)]), {"cpu": 1}),
            param_space={"number": tune.grid_search(list(range(TRIALS)))},
            run_config=tune.RunConfig(storage_path=scratch, verbose=0),
        ).fit()
    assert not grid.errors
    print("bytes", ARRAY.nbytes, "trials", len(grid))
