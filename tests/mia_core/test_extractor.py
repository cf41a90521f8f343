import dataclasses

import numpy as np
import pytest
import torch

from mia_core.data import SOURCES, load_pool
from mia_core.data.pool import to_float
from mia_core.metrics import ExtractorConfig
from mia_core.metrics.extractor import Recipe, train

SMALL = ExtractorConfig(features=16, width=8, steps=150)


@pytest.fixture(scope="module")
def digits():
    return load_pool(SOURCES.choose({"name": "digits", "size": 8}))


@pytest.fixture(scope="module")
def recipe(digits):
    return Recipe(SMALL, digits.digest, "reference", digits.image_shape, 10, 3)


@pytest.fixture(scope="module")
def extractor(recipe, digits):
    return train(recipe, digits.images[:500], digits.labels[:500])


def features(network, images):
    return network.features(torch.from_numpy(images))


@pytest.mark.slow
def test_the_same_recipe_gives_the_same_features_bit_for_bit(recipe, extractor, digits):
    torch.manual_seed(77)
    again = train(recipe, digits.images[:500], digits.labels[:500])
    assert torch.equal(features(again, digits.images[500:600]), features(extractor, digits.images[500:600]))
    other = train(dataclasses.replace(recipe, seed=4), digits.images[:500], digits.labels[:500])
    assert not torch.equal(features(other, digits.images[500:600]), features(extractor, digits.images[500:600]))


def test_training_leaves_the_global_generator_alone(recipe, digits):
    short = dataclasses.replace(recipe, config=dataclasses.replace(SMALL, steps=2))
    before = torch.random.get_rng_state()
    train(short, digits.images[:100], digits.labels[:100])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_features_tell_digits_apart_far_better_than_chance(extractor, digits):
    # Nearest class mean on records not trained on; chance is 10 %, and 1,297 records make its deviation 0.8 %.
    known, asked = features(extractor, digits.images[:500]), features(extractor, digits.images[500:])
    centers = torch.stack([known[torch.from_numpy(digits.labels[:500] == label)].mean(0) for label in range(10)])
    guesses = torch.cdist(asked, centers).argmin(1).numpy()
    assert (guesses == digits.labels[500:]).mean() > 0.7


@pytest.mark.long
def test_no_feature_that_sleeps_on_the_reference_records_outweighs_the_others(digits):
    # 80 records leave one of 32 features all but silent; noise wakes it, to 42 times its own deviation.
    recipe = Recipe(ExtractorConfig(), digits.digest, "reference", digits.image_shape, 10, 1)
    network = train(recipe, digits.images[:80], digits.labels[:80])
    noise = np.random.default_rng(0).integers(0, 256, (50, *digits.image_shape), dtype=np.uint8)
    assert float(features(network, noise).abs().max()) < 12


def test_features_are_standardized_on_the_reference_records(extractor, digits):
    reference = features(extractor, digits.images[:500])
    assert reference.shape == (500, 16)
    assert reference.dtype == torch.float32
    torch.testing.assert_close(reference.mean(0), torch.zeros(16), atol=1e-4, rtol=0)
    deviations = reference.std(0)
    awake = deviations > 0.999
    assert awake.sum() >= 14  # of 16
    torch.testing.assert_close(deviations[awake], torch.ones(int(awake.sum())), atol=1e-3, rtol=0)
    assert deviations.max() < 1.001
    assert int((deviations > 0).sum()) > 8


def test_bytes_and_floats_of_one_image_have_the_same_features(extractor, digits):
    images = torch.from_numpy(digits.images[:20])
    assert torch.equal(extractor.features(images), extractor.features(to_float(images)))


def test_features_do_not_depend_on_how_images_are_batched(extractor, digits):
    images = torch.from_numpy(digits.images[:50])
    torch.testing.assert_close(extractor.features(images, chunk=7), extractor.features(images), atol=1e-4, rtol=0)


def test_the_trained_network_is_frozen(extractor):
    assert not extractor.training
    assert not any(parameter.requires_grad for parameter in extractor.parameters())


def test_every_part_of_a_recipe_is_in_its_id(recipe):
    changes = [
        {"config": dataclasses.replace(SMALL, steps=151)},
        {"data": "other"},
        {"reference": "other"},
        {"image_shape": (1, 8, 9)},
        {"classes": 9},
        {"seed": 4},
    ]
    ids = {dataclasses.replace(recipe, **change).id for change in changes}
    assert len(ids | {recipe.id}) == 7
    assert {key for change in changes for key in change} == {field.name for field in dataclasses.fields(recipe)}
    assert dataclasses.replace(recipe).id == recipe.id


@pytest.mark.parametrize(("classes", "count"), [(1, 500), (10, 31)])
def test_too_few_classes_or_records_are_refused_with_the_numbers(recipe, digits, classes, count):
    with pytest.raises(ValueError, match=f"needs 32 labelled records of at least 2 classes, got {count} of {classes}"):
        train(dataclasses.replace(recipe, classes=classes), digits.images[:count], digits.labels[:count])


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 16), (1, 28, 28)])
def test_any_image_shape_has_features(recipe, shape):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, *shape), dtype=np.uint8)
    short = dataclasses.replace(recipe, config=dataclasses.replace(SMALL, steps=2), image_shape=shape)
    assert features(train(short, images, rng.integers(0, 10, 40)), images).shape == (40, 16)
