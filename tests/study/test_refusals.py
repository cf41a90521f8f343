"""What a training refuses, a plan has refused before, in the same words: no worker meets it."""

import json
import re

import numpy as np
import pytest

from mia_core.defenses import Arm
from mia_core.streams import Streams
from mia_core.training import Trainer
from mia_core.training_records import Records
from tests.mia_core.contract import ARM_TABLE, TARGET_TABLE

PRECISIONS = ("float32", "bfloat16")


def refused_by_training(target, arm, training, shape, train_size=40):
    images = np.zeros((train_size, *shape), dtype=np.uint8)
    try:
        Trainer(target.build(shape), Records(images, train_size), training, arm, Streams(0), bytes(32))
    except ValueError as error:
        return str(error)
    return None


def settings(values):
    return json.dumps(values).replace('"', "")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("target", TARGET_TABLE)
def test_a_plan_has_the_pairs_that_a_training_takes_and_refuses_the_others(make_design, target, precision):
    row = {key: value for key, value in TARGET_TABLE[target].items() if key != "size"}
    given = f"target={settings(row)}", f"training.precision={precision}", "factors.train_size=[40]", "attacks=[random]"
    plain = make_design(*given, "factors.defense=[none]")
    (cell,) = plain.cells
    reasons = {
        name: refused_by_training(cell.target, Arm.parse(spec), cell.training, plain.pool.image_shape)
        for name, spec in ARM_TABLE.items()
    }
    fitting = [spec for name, spec in ARM_TABLE.items() if reasons[name] is None]
    fewest = 6 if "discriminate" in cell.target.cls.offers else 3  # most defenses are of a discriminator
    assert len(make_design(*given, f"factors.defense={settings(fitting)}").cells) == len(fitting) >= fewest
    one_of_each = {reason: name for name, reason in reasons.items() if reason}
    for reason, name in one_of_each.items():
        words = f"factors.defense: {Arm.parse(ARM_TABLE[name]).label} with {row['name']}: {reason}"
        with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
            make_design(*given, f"factors.defense={settings(['none', ARM_TABLE[name]])}")


def test_a_plan_refuses_a_delta_that_a_training_refuses(make_design):
    arm = "{name: dp_sgd, sigma: 1.0, clip: 1.0, delta: 0.1}"
    with pytest.raises(ValueError, match=r"^factors.defense: dp_sgd sigma=1 with train_size 40: dp_sgd.delta 0.1"):
        make_design(f"factors.defense=[none, {arm}]")
