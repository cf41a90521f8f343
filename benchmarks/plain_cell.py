"""`python -m benchmarks.plain_cell CELL OUT`: one cell of a study as a plain script, as LOGAN's authors ran theirs.

It reads the data, splits, trains the network that judges quality, trains its target from nothing, measures and attacks
it, and writes what it found. It uses the library of one trial's science, `mia_core`, so that it takes the same steps as
a sweep's trial; it knows no other cell, and shares nothing with one.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mia_core.attacks import ATTACKS, Knowledge
from mia_core.batches import steps_of
from mia_core.data import SOURCES, SPLITS, load_pool
from mia_core.data.pool import to_float
from mia_core.defenses import Arm
from mia_core.hashing import array_digest
from mia_core.metrics import judge
from mia_core.metrics.extractor import ExtractorConfig, Recipe
from mia_core.metrics.extractor import train as train_extractor
from mia_core.metrics.quality import kernel_distance
from mia_core.models import Snapshot
from mia_core.settings import validate
from mia_core.streams import Streams
from mia_core.targets import TARGETS
from mia_core.training import Trainer, TrainingConfig
from mia_core.training_records import Records


def run(cell: Mapping[str, Any]) -> dict[str, Any]:
    """weights: sha256 of the trained networks; kid against unseen records; the AUC of each attack, by its label.

    cell: plain values; `stream` of an attack and `noise` name random streams, so that they are those of a sweep.
    """
    torch.set_num_threads(1)
    seed, replicate, train_size = cell["seed"], cell["replicate"], cell["train_size"]
    pool = load_pool(SOURCES.choose(cell["data"]))
    split = SPLITS.choose(cell["split"]).build(pool, tuple(cell["train_sizes"]), seed)
    membership = split.membership(replicate, train_size)

    training = validate(TrainingConfig, cell["training"], "training")
    trainer = Trainer(
        target=TARGETS.choose(cell["target"]).build(pool.image_shape),
        records=Records(pool.images[membership.train], train_size),
        config=training,
        arm=Arm.parse(cell["defense"]),
        streams=Streams("training", seed, replicate),
    )
    trainer.run_to(steps_of(cell["epochs"], train_size, training.batch_size))
    found: dict[str, Any] = {"weights": weights_digest(trainer.target.state_dict())}

    samples = Streams("samples", seed, replicate)
    quality = cell["quality"]
    recipe = Recipe(
        config=validate(ExtractorConfig, quality["extractor"], "extractor"),
        data=pool.digest,
        reference=array_digest(split.reference),
        image_shape=pool.image_shape,
        classes=int(pool.labels.max()) + 1,
        seed=seed,
    )
    extractor = train_extractor(recipe, pool.images[split.reference], pool.labels[split.reference])
    fake = extractor.features(Snapshot(trainer.target, samples).samples(quality["samples"]))
    real = extractor.features(torch.from_numpy(pool.images[split.unseen[: quality["samples"]]]))
    found["kid"] = kernel_distance(fake, real)

    queries = to_float(torch.from_numpy(pool.images[membership.queries]))
    for item in cell["attacks"]:
        attack = ATTACKS.choose(item["attack"]).build()
        rng = Streams("attack", seed, replicate, item["stream"])
        result = attack(Snapshot(trainer.target, samples), queries, Knowledge(), rng)
        for label, values in zip(item["labels"], result.scores.values.numpy(), strict=True):
            found[label] = judge(values, membership.member).auc
    return found


def weights_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """sha256 of a target's state, by the order of its names."""
    return array_digest(*(tensors[name].detach().cpu().numpy() for name in sorted(tensors)))


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(run(json.loads(Path(sys.argv[1]).read_text()))))
