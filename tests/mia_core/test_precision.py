"""bfloat16 and TF32 in training alone: what it leaves in float32, that it is repeatable, and what it refuses."""

import pytest
import torch

from mia_core.data import load_pool
from mia_core.data.pool import to_float
from mia_core.defenses import Arm
from mia_core.hashing import content_id
from mia_core.models import Snapshot
from mia_core.streams import Streams
from mia_core.targets import TARGETS, placed
from mia_core.tf32 import tf32
from mia_core.training import Trainer, TrainingConfig
from mia_core.training_records import Records
from study.design.study_design import Design
from tests.mia_core.contract import scores_of
from tests.small import small_spec

LEARNING = {"wgan_gp": {"generator_every": 2}}


def small_design(*overrides):
    spec = small_spec(*overrides)
    return Design(spec, load_pool(spec.data))


def lowered(name, make_target, make_images, precision="bfloat16", arm="none", steps=0):
    trainer = Trainer(
        make_target(name),
        Records(make_images(24), 24),
        TrainingConfig(batch_size=8, learning_rate=2e-3, precision=precision, **LEARNING.get(name, {})),
        Arm.parse(arm),
        Streams(1),
        bytes(32),
    )
    trainer.run_to(steps)
    return trainer


@pytest.mark.parametrize("name", TARGETS.names())
def test_a_step_is_near_that_of_float32_and_not_the_same(name, make_target, make_images):
    after = {
        p: lowered(name, make_target, make_images, p, steps=1).target.state_dict() for p in ("float32", "bfloat16")
    }
    before = lowered(name, make_target, make_images).target.state_dict()
    moved, apart = (
        torch.cat([(after[one][key] - other[key]).flatten() for key in before]).norm()
        for one, other in (("float32", before), ("bfloat16", after["float32"]))
    )
    assert 0 < apart < moved / 2


@pytest.mark.parametrize("name", TARGETS.names())
def test_weights_and_their_optimizers_stay_in_float32(name, make_target, make_images):
    tensors, _ = lowered(name, make_target, make_images, steps=2).state()
    floats = [tensor for tensor in tensors.values() if tensor.is_floating_point()]
    assert floats and all(tensor.dtype == torch.float32 for tensor in floats)


@pytest.mark.parametrize("name", TARGETS.names())
def test_a_trained_target_answers_as_its_kept_weights_do(name, make_target, make_images):
    trainer = lowered(name, make_target, make_images, steps=2)
    kept = make_target(name)
    kept.load_state_dict(trainer.target.state_dict())
    kept = placed(kept, "cpu")
    images = to_float(torch.from_numpy(make_images(5, seed=3)))
    own, other = (Snapshot(target, Streams(2)) for target in (kept, trainer.target))
    assert torch.equal(scores_of(own, images), scores_of(other, images))
    assert torch.equal(own.samples(5), other.samples(5))


def test_an_interrupted_training_goes_on_to_the_same_bits(make_target, make_images):
    whole = lowered("dcgan", make_target, make_images, steps=5).state()[0]
    first = lowered("dcgan", make_target, make_images, steps=2)
    second = lowered("dcgan", make_target, make_images)
    second.restore(*first.state())
    second.run_to(5)
    again = second.state()[0]
    assert whole.keys() == again.keys() and all(torch.equal(whole[key], again[key]) for key in whole)


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_the_precision_alone_decides_whether_training_may_use_tf32(make_target, make_images, outside, precision):
    def flags():
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    trainer = lowered("dcgan", make_target, make_images, precision)
    inside, step = set(), trainer.target.step
    trainer.target.step = lambda learner, batch: (inside.add(flags()), step(learner, batch))[1]
    with tf32(outside):
        trainer.run_to(2)
        assert flags() == (outside, outside)
        trainer.target.step = lambda learner, batch: 1 / 0
        with pytest.raises(ZeroDivisionError):
            trainer.run_to(3)
        assert flags() == (outside, outside)
    assert inside == {(precision == "tf32",) * 2}


def test_tf32_changes_nothing_on_a_cpu_but_ids(make_target, make_images):
    full, tf32_ = (lowered("dcgan", make_target, make_images, p, steps=3).state()[0] for p in ("float32", "tf32"))
    assert all(torch.equal(full[key], tf32_[key]) for key in full)
    assert TrainingConfig(precision="tf32").to_dict()["precision"] == "tf32"


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_dp_sgd_is_refused_by_the_trainer_and_by_the_plan(make_target, make_images, precision):
    private = {"name": "dp_sgd", "sigma": 1.0, "clip": 1.0, "delta": 1e-5}
    with pytest.raises(ValueError, match=r"dp_sgd needs training\.precision float32"):
        lowered("dcgan", make_target, make_images, precision, arm=private)
    with pytest.raises(ValueError, match=rf"factors\.defense: dp_sgd.*training\.precision float32.*for {precision}"):
        small_design(f"training.precision={precision}")


def test_the_precision_is_part_of_ids_and_float32_keeps_those_from_before_there_was_another():
    plain = TrainingConfig()
    assert "precision" not in plain.to_dict() and "precision" not in small_spec().resolved["training"]
    one = small_design("factors.defense=[none]").trials[0].trajectory_id
    other = small_design("factors.defense=[none]", "training.precision=bfloat16").trials[0].trajectory_id
    assert one == small_design("factors.defense=[none]", "training.precision=float32").trials[0].trajectory_id != other
    assert content_id(TrainingConfig(precision="bfloat16").to_dict()) != content_id(plain.to_dict())
