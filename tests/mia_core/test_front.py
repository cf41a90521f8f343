"""The front door: plain arrays and tensors in and out, the same bits as the parts it is made of, clear refusals."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import mia_core
from mia_core.attacks import ATTACKS, Knowledge
from mia_core.data.pool import to_float
from mia_core.defenses import Arm
from mia_core.models import Snapshot
from mia_core.streams import Streams
from mia_core.targets import TARGETS
from mia_core.training import Trainer, TrainingConfig
from mia_core.training_records import Records

EXAMPLE = Path(__file__).parents[2] / "examples" / "one_target.py"
TARGET = {"name": "dcgan", "width": 4, "latent": 4}
SMALL = {"batch_size": 8}
PRIVATE = {"name": "dp_sgd", "sigma": 1.0, "clip": 1.0, "delta": 1e-5}


@pytest.fixture(scope="module")
def images(make_images):
    return make_images(24)


@pytest.fixture(scope="module")
def model(images):
    return mia_core.train(TARGET, images, epochs=2, training=SMALL, seed=3)


def test_a_target_is_trained_as_its_parts_train_it(images, model):
    trainer = Trainer(
        TARGETS.choose(TARGET).build((1, 8, 8)),
        Records(images, 24),
        TrainingConfig(**SMALL),
        Arm(),
        Streams("front", 3),
    )
    trainer.run_to(6)
    for name, value in trainer.target.state_dict().items():
        assert torch.equal(value, model.target.state_dict()[name]), name
    assert [row.epoch for row in model.history] == [1, 2]
    assert model.epsilon is None


def test_scores_are_those_of_the_attack(images, model):
    queries = to_float(torch.from_numpy(images))
    found = mia_core.attack(model, images)
    assert torch.equal(found, Snapshot(model.target, Streams()).discriminate(queries))
    assert (found.dtype, found.shape) == (torch.float32, (24,))
    assert torch.equal(found, mia_core.attack(model, queries)), "bytes, or floats in [-1, 1]"
    spec = {"name": "local_gan", "steps": [1, 3], "generated": 16, "surrogate": TARGET, "batch_size": 4}
    last = mia_core.attack(model, images, spec, seed=5)
    levels = ATTACKS.choose(spec).build()(model, queries, Knowledge(), Streams("front attack", 5, "local_gan"))
    assert torch.equal(last, levels.scores.values[-1])
    assert not torch.equal(last, levels.scores.values[0])


def test_scores_are_judged_with_units(model, images):
    members = np.arange(24) < 12
    scores = torch.from_numpy(members + np.linspace(0, 0.5, 24)).float()
    assert mia_core.judge(scores, members).auc == 1
    by_person = mia_core.judge(scores, torch.from_numpy(members), [number // 2 for number in range(24)])
    assert by_person.auc_low < mia_core.judge(scores, members).auc_low, "fewer persons than records"


def test_a_private_training_has_its_epsilon_and_noise_of_its_own(images):
    first, again = (mia_core.train(TARGET, images, steps=3, defense=PRIVATE, training=SMALL) for _ in range(2))
    assert first.epsilon == again.epsilon > 0
    weights = [model.target.get_parameter("discriminator.0.0.weight") for model in (first, again)]
    assert not torch.equal(*weights), "noise is secret, and not a function of the seed"
    persons = np.arange(24) // 3
    per_person = {**PRIVATE, "unit": "person"}
    of_persons = mia_core.train(TARGET, images, steps=3, defense=per_person, training=SMALL, persons=persons)
    assert of_persons.epsilon > first.epsilon, "8 persons, each in every step"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: mia_core.train(TARGET, x), "give epochs or steps, one of them"),
        (lambda x: mia_core.train(TARGET, x, epochs=1, steps=1), "give epochs or steps, one of them"),
        (lambda x: mia_core.train(TARGET, x, steps=0), "must be a whole number from 1, got 0"),
        (lambda x: mia_core.train(TARGET, x, steps=True), "must be a whole number from 1, got True"),
        (lambda x: mia_core.train(TARGET, x, epochs="3"), "must be a whole number from 1, got '3'"),
        (
            lambda x: mia_core.train(TARGET, x, steps=1, defense=PRIVATE, persons=np.arange(24)),
            "persons are for dp_sgd with unit: person",
        ),
        (lambda x: mia_core.train("dcgann", x, steps=1), "did you mean 'dcgan'"),
        (lambda x: mia_core.train(TARGET, x[0], steps=1), r"images must be \[N,C,H,W\], got \[1, 8, 8\]"),
        (lambda x: mia_core.train(TARGET, x.astype(float), steps=1), r"images must be uint8, or float in \[-1, 1\]"),
        (lambda x: mia_core.train(TARGET, x, steps=1, training={"batch": 3}), "training.batch: unknown key"),
        (
            lambda x: mia_core.train(TARGET, x, steps=1, defense={**PRIVATE, "unit": "person"}),
            r"needs persons, int64 \[24\]",
        ),
    ],
)
def test_mistakes_are_said_in_a_line(images, call, message):
    with pytest.raises(ValueError, match=message):
        call(images)


def test_an_attack_that_lacks_something_says_so(model, images):
    with pytest.raises(ValueError, match="local_gan needs known_members"):
        mia_core.attack(model, images, {"name": "local_gan", "known": 10, "sides": "members"})
    with pytest.raises(ValueError, match="local_gan as it is set does not use known_members"):
        mia_core.attack(model, images, "local_gan", known_members=images[:4])
    with pytest.raises(ValueError, match=r"queries must be uint8, or float in \[-1, 1\]"):
        mia_core.attack(model, images.astype(np.int32))


def test_whoever_has_only_samples_attacks_them(model, images):
    samples = model.samples(60)
    near = {"name": "euclidean", "generated": 60}
    found = mia_core.attack(mia_core.SampleFolder(samples), images, near)
    assert torch.equal(found, mia_core.attack(model, images, near))
    noise = mia_core.Sampler(lambda count, generator: torch.rand(count, 1, 8, 8, generator=generator), seed=4)
    expected = mia_core.attack(mia_core.SampleFolder(noise.samples(60)), images, near)
    assert torch.equal(mia_core.attack(noise, images, near), expected)
    with pytest.raises(ValueError, match=r"^white_box: a folder of samples does not offer discriminate$"):
        mia_core.attack(mia_core.SampleFolder(samples), images)
    with pytest.raises(ValueError, match=r"^a folder of samples: 2000 samples are asked for, and there are 60; lower"):
        mia_core.attack(mia_core.SampleFolder(samples), images, "euclidean")
    with pytest.raises(ValueError, match="model must be what train returns, a SampleFolder or a Sampler, got Tensor"):
        mia_core.attack(samples, images)


def test_of_several_numbers_of_samples_the_last_is_scored(model, images):
    several = mia_core.attack(model, images, {"name": "euclidean", "generated": [10, 60]})
    assert torch.equal(several, mia_core.attack(model, images, {"name": "euclidean", "generated": 60}))


def test_the_example_runs_and_prints_an_interval_for_each_attack(capsys):
    spec = importlib.util.spec_from_file_location("one_target", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.main(epochs=1)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 4
    assert all("AUC 0." in line and "[" in line for line in said)
    assert said[2].strip().startswith("epsilon")


WITHOUT = """
import sys
for name in ("ray", "mlflow", "optuna", "pandas", "pyarrow", "yaml", "rich", "matplotlib", "safetensors", "SALib"):
    sys.modules[name] = None  # as if it were not installed
import importlib, pkgutil, numpy, torch, mia_core, mia_core.metrics
images = numpy.zeros((16, 1, 8, 8), numpy.uint8)
model = mia_core.train("dcgan", images, steps=1, training={"batch_size": 4})
mia_core.metrics.measure(("kid", "fid"), torch.rand(9, 2), torch.rand(9, 2))
slow = {"torch._dynamo", "torchvision", "torchmetrics", "opacus"} & sys.modules.keys()
assert not slow, slow  # together they take longer than all other imports of a worker
private = {"name": "dp_sgd", "sigma": 1.0, "clip": 1.0, "delta": 1e-5}
model = mia_core.train("dcgan", images, steps=1, defense=private, training={"batch_size": 4})
assert model.epsilon > 0  # by Opacus, which reaches torchvision before anything here has
for module in pkgutil.walk_packages(mia_core.__path__, "mia_core."):
    importlib.import_module(module.name)
try:
    import study
except ImportError as error:
    print(error)
"""


@pytest.mark.long
@pytest.mark.usefixtures("cache_of_test")  # no known epsilon
def test_the_science_works_without_ray_mlflow_and_the_store_and_a_study_says_what_it_needs():
    found = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 0, found.stderr
    assert "studies need ray, mlflow" in found.stdout
    assert "pip install '.[study]'" in found.stdout


def test_a_name_that_the_front_door_lacks_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        mia_core.trian  # noqa: B018
