"""Augmented records: which images they become, by which numbers, and that all else stays."""

import numpy as np
import pytest
import torch

from mia_core.defenses import Arm
from mia_core.defenses.augmentation import shifted
from mia_core.errors import Refused
from mia_core.streams import Streams


def test_a_shift_moves_an_image_and_repeats_its_edge():
    images = torch.randn(9, 2, 5, 6, generator=Streams(1).torch("x"))
    shifts = torch.cartesian_prod(torch.arange(0, 5, 2), torch.arange(0, 5, 2))
    found = shifted(images, shifts, 2)
    for image, (down, right), moved in zip(images.numpy(), shifts.tolist(), found.numpy(), strict=True):
        wide = np.pad(image, ((0, 0), (2, 2), (2, 2)), mode="edge")
        assert np.array_equal(moved, wide[:, down : down + 5, right : right + 6])
    assert torch.equal(found[4], images[4]), "the shift in the middle is none"


@pytest.mark.parametrize(("settings", "kinds"), [({}, 2), ({"flip": False, "crop": 1}, 9), ({"crop": 1}, 18)])
def test_every_view_of_a_record_is_seen_and_none_besides(make_trainer, settings, kinds):
    trainer = make_trainer({"name": "augmentation", **settings}, count=1, batch_size=400)
    views = torch.unique(trainer.batch().real.flatten(1), dim=0)
    assert len(views) == kinds
    record = trainer.images[0] / 127.5 - 1
    expected = [record.flip(2), record] if settings.get("flip", True) else [record]
    crop = settings.get("crop", 0)
    shifts = torch.cartesian_prod(torch.arange(2 * crop + 1), torch.arange(2 * crop + 1))
    every = torch.cat([shifted(x.expand(len(shifts), -1, -1, -1), shifts, crop) for x in expected])
    assert float(torch.cdist(views, every.flatten(1)).min(1).values.max()) < 1e-5
    trainer.run_to(1)
    assert not torch.equal(trainer.batch().real[:50], trainer.images[:1] / 127.5 - 1)


def test_the_same_training_without_it_has_the_same_batches_otherwise(make_trainer):
    plain, augmented = make_trainer(), make_trainer("augmentation")
    one, other = plain.batch(), augmented.batch()
    assert torch.equal(one.rows.index, other.rows.index)
    for name, value in one.draws.items():
        assert torch.equal(value, other.draws[name])
    same = (one.real == other.real).flatten(1).all(1)
    assert torch.equal(torch.where(same[:, None, None, None], one.real, one.real.flip(3)), other.real)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"flip": False}, "changes nothing; set flip, or a crop above 0"), ({"crop": -1}, "greater than or equal to 0")],
)
def test_settings_that_change_nothing_or_make_no_sense_are_refused(settings, reason):
    with pytest.raises(Refused, match=reason):
        Arm.parse({"name": "augmentation", **settings})


def test_a_shift_by_a_whole_image_is_refused(make_trainer):
    with pytest.raises(Refused, match=r"augmentation.crop 8 must be below the 8 pixels of an image"):
        make_trainer({"name": "augmentation", "crop": 8})


def test_it_claims_nothing_and_goes_with_a_private_arm():
    arm = Arm.parse(["augmentation", {"name": "dp_sgd", "sigma": 1.0, "clip": 1.0, "delta": 1e-5}])
    assert arm.guaranteed
    assert not Arm.parse("augmentation").guaranteed
