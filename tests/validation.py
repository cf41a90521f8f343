"""`python -m tests.validation`: the long checks with known answers, one Markdown table each; exit 1 when one fails.

1. Null targets: attacks on targets that never saw the queries average AUC 0.5, and their intervals cover it.
2. Copies: members that stand 1, 2, 4, 8 times in the training set leak more and more.
The answers are known beforehand, so a failure is a fault of the code, up to the error rates stated beside each check.
"""

import sys
from collections import defaultdict

import numpy as np
import torch

from analysis.effects import t_interval
from mia_core.access import Snapshot
from mia_core.attacks import ATTACKS, Knowledge
from mia_core.data import SOURCES, load_pool
from mia_core.data.pool import to_float
from mia_core.defenses import Arm
from mia_core.metrics import delong_interval, judge
from mia_core.streams import Streams
from mia_core.targets import TARGETS
from mia_core.training import Trainer, TrainingConfig

NULLS = 200
SURROGATE = {"steps": [20], "generated": 200, "batch_size": 16, "surrogate": {"name": "dcgan", "width": 4, "latent": 8}}
ATTACKED_WITH = (
    {"name": "white_box"},
    {"name": "random"},
    {"name": "euclidean", "generated": 200},
    {"name": "local_gan", **SURROGATE},
    {"name": "local_gan", **SURROGATE, "known": 20, "sides": "members"},
    {"name": "local_gan", **SURROGATE, "known": 20, "sides": "non_members"},
    {"name": "local_gan", **SURROGATE, "known": 20},
    {"name": "discriminative", **SURROGATE, "real": "samples"},
    {"name": "discriminative", **SURROGATE, "real": "members"},
)


def main() -> int:
    """Run both checks."""
    torch.set_num_threads(1)
    passed = [null_targets(), copies()]
    return 0 if all(passed) else 1


def trained(images: np.ndarray, steps: int, seed: int, target: dict, **training: float) -> Snapshot:
    """A target after so many steps on uint8 records [n,C,H,W]."""
    network = TARGETS.choose(target).build(images.shape[1:])
    config = TrainingConfig(**training)
    trainer = Trainer(network, images, len(images), config, Arm(), Streams("validation", seed), Streams("noise", seed))
    trainer.run_to(steps)
    return Snapshot(network, Streams("samples", seed))


def null_targets() -> bool:
    """Each null: new queries, labels by coin, known records and 40 training records from 1,797 digits of 8x8 pixels.

    Every mean must be 0.50 +- .01 (at 200 x 200 queries a mean over 200 nulls has a standard error of .0021, so
    4.8 of them) and 93 to 97 % of the DeLong intervals must cover 0.5 (95 % has a standard error of 1.5 %, so an honest
    attack fails this with probability 0.2; a failure is counted only below 91 or above 99 %, at 1 in 100 an attack).
    """
    pool = load_pool(SOURCES.choose({"name": "digits", "size": 8}))
    found: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for seed in range(NULLS):
        order = Streams("nulls").numpy("order", seed).permutation(len(pool))
        queries, members, others, train = np.split(order[:480], [400, 420, 440])
        member = np.repeat([True, False], 200)
        floats = [to_float(torch.from_numpy(pool.images[part])) for part in (queries, members, others)]
        targets = ({"name": "dcgan"}, {"name": "vae_gan"}, {"name": "began"})
        target = {**targets[seed % 3], "width": 4, "latent": 8}
        snapshot = trained(pool.images[train], 40, seed, target, batch_size=16, learning_rate=1e-3)
        knowledge = Knowledge(known_members=floats[1], known_non_members=floats[2])
        for spec in ATTACKED_WITH:
            attack = ATTACKS.choose(spec).build()
            scores = attack(snapshot, floats[0], knowledge, Streams("attack", seed)).scores.values[0].numpy()
            found[spec["name"] + attack.variant].append(delong_interval(scores[member], scores[~member]))
    print(f"### Null targets: {NULLS}, a third of each architecture\n")
    print("| attack | mean AUC | standard error | intervals that cover 0.5 |\n| --- | --- | --- | --- |")
    good = True
    for label, intervals in found.items():
        aucs, lows, highs = np.array(intervals).T
        covered = float(np.mean((lows <= 0.5) & (highs >= 0.5)))
        good &= abs(aucs.mean() - 0.5) <= 0.01 and 0.91 <= covered <= 0.99
        print(f"| {label} | {aucs.mean():.4f} | {aucs.std(ddof=1) / NULLS**0.5:.4f} | {covered:.1%} |")
    print()
    return good


def copies(replicates: int = 12) -> bool:
    """100 members, a quarter each standing 1, 2, 4 and 8 times among 375 records; white-box AUC of each quarter.

    Each doubling must raise the AUC in the mean over replicates, and 8 copies over 1 with a 95 % t interval above 0.
    """
    pool = load_pool(SOURCES.choose({"name": "digits", "size": 16}))
    times = (1, 2, 4, 8)
    aucs = np.empty((replicates, len(times)))
    for replicate in range(replicates):
        order = Streams("copies").numpy("order", replicate).permutation(len(pool))
        quarters, others = np.split(order[:100], 4), order[100:600]
        images = pool.images[np.concatenate([np.repeat(q, k) for q, k in zip(quarters, times, strict=True)])]
        snapshot = trained(images, 400, replicate, {"name": "dcgan"}, batch_size=32, learning_rate=2e-4)
        for column, quarter in enumerate(quarters):
            queries = np.concatenate([quarter, others])
            scores = snapshot.discriminate(to_float(torch.from_numpy(pool.images[queries]))).numpy()
            aucs[replicate, column] = judge(scores, np.arange(len(queries)) < len(quarter)).auc
    print(f"### Copies in the training set: white-box AUC, {replicates} replicates, 400 steps\n")
    print("| copies | mean AUC | 95 % t interval |\n| --- | --- | --- |")
    for column, count in enumerate(times):
        mean, low, high = t_interval(aucs[:, column])
        print(f"| {count} | {mean:.3f} | {low:.3f} to {high:.3f} |")
    _, low, high = t_interval(aucs[:, -1] - aucs[:, 0])
    print(f"\n8 copies less 1, inside replicates: {low:+.3f} to {high:+.3f}\n")
    return bool(np.all(np.diff(aucs.mean(axis=0)) > 0)) and low > 0


if __name__ == "__main__":
    sys.exit(main())
