import pytest
import torch

from mia_core.attacks import ATTACKS, Knowledge
from mia_core.data.pool import to_float
from mia_core.models import Snapshot
from mia_core.streams import Streams

DP = {"name": "dp_sgd", "sigma": 1.0, "clip": 1.0, "delta": 1e-3}


def scores_of(target, queries):
    return ATTACKS.choose("white_box").build()(Snapshot(target, Streams(0)), queries, Knowledge(), Streams(1)).scores


@pytest.mark.parametrize("arm", ["none", "dropout", DP, [DP, "dropout"]], ids=str)
@pytest.mark.parametrize("left", ["train", "eval"])
def test_scores_are_the_discriminators_logits_in_evaluation_mode(make_trainer, make_images, arm, left):
    trainer = make_trainer(arm, size=16)
    trainer.run_to(5)
    x = to_float(torch.from_numpy(make_images(300, 16, seed=1)))
    with torch.no_grad():
        expected = torch.cat([trainer.target.eval().discriminator(row[None]).flatten() for row in x])
    getattr(trainer.target, left)()
    scores = scores_of(trainer.target, x)
    assert scores.levels == (None,)
    torch.testing.assert_close(scores.values[0], expected, atol=1e-5, rtol=0)
    assert expected.std() > 0


def test_confident_discriminators_do_not_saturate_into_ties(make_dcgan, make_images):
    # Mistake 3 of published code, in its sigmoid form: D(x) of a confident discriminator rounds to 1.
    target = make_dcgan()
    with torch.no_grad():
        target.discriminator[-1].weight.mul_(100)
        target.discriminator[-1].bias.fill_(200)
    x = to_float(torch.from_numpy(make_images(200)))
    scores = scores_of(target, x)
    assert len(set(scores.values[0].sigmoid().tolist())) == 1
    assert len(set(scores.values[0].tolist())) > 190
