"""Train a DCGAN on 100 digits, attack it, print its AUC: `python examples/one_target.py`.

Needs mia_core alone: no Ray, no MLflow, no study file. Half a minute.
"""

import sys

import numpy as np

import mia_core
from mia_core.data import SOURCES

EPOCHS = 150


def main(epochs: int = EPOCHS) -> None:
    """Print the AUC of each attack with its 95 % interval, and what DP-SGD changes."""
    images = SOURCES.choose({"name": "digits", "size": 16}).build().load().images
    chosen = np.random.default_rng(0).permutation(len(images))[:200]
    queries, members = images[chosen], np.arange(200) < 100
    target = {"name": "dcgan", "width": 16, "norm": "group"}
    private = {"name": "dp_sgd", "sigma": 1.0, "clip": 1.0, "delta": 1e-5}
    for defense in ("none", private):
        model = mia_core.train(target, queries[members], epochs=epochs, defense=defense)
        epsilon = f"epsilon {model.epsilon:.1f}" if model.epsilon else "no guarantee"
        for attack in ("white_box", {"name": "euclidean", "generated": 1000}):
            found = mia_core.judge(mia_core.attack(model, queries, attack), members)
            name = attack if isinstance(attack, str) else attack["name"]
            print(f"{epsilon:>14}, {name}: AUC {found.auc:.3f} [{found.auc_low:.3f}, {found.auc_high:.3f}]")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
