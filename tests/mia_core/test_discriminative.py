import copy

import numpy as np
import pytest
import torch

from mia_core.access import Access
from mia_core.attacks import ATTACKS, Knowledge
from mia_core.data.pool import to_float
from mia_core.metrics import judge
from mia_core.models import Snapshot
from mia_core.streams import Streams
from mia_core.targets import DCGAN, Adversarial
from tests.mia_core.marked_images import bright, of_value
from tests.mia_core.replay import Replay

SURROGATE = {"name": "dcgan", "width": 4, "latent": 4}
SMALL = {"name": "discriminative", "generated": 40, "batch_size": 8, "steps": [5], "surrogate": SURROGATE}


class Untouchable(Snapshot):
    """A snapshot whose target must not be used."""

    def samples(self, count):
        raise AssertionError("samples were drawn")

    generate = discriminate = samples


class Unused(DCGAN):
    """A target whose networks must not be called, nor its weights be read."""

    name = "unused"

    def generate(self, z_BZ):
        raise AssertionError("the target was called")

    discriminate = forward = generate

    def state_dict(self, *arguments, **keywords):
        raise AssertionError("the target's weights were read")


def run(snapshot, queries, known, rng=3, **changes):
    return ATTACKS.choose({**SMALL, **changes}).build()(snapshot, queries, known, Streams(rng)).scores


def auc_of(scores, queries_each):
    return judge(scores.values[-1].numpy(), np.repeat([True, False], queries_each)).auc


@pytest.fixture(scope="module")
def queries(make_images):
    return to_float(torch.from_numpy(make_images(12, seed=2)))


@pytest.fixture
def steps(monkeypatch):
    """What each step showed a surrogate: pixel values of the real side, of the known fake side, and counts."""
    seen = []

    plain = Adversarial.step

    def spied(self, learner, batch):
        values = [((side[:, 0, 0, 0] + 1) * 127.5).round().int().tolist() for side in (batch.real, batch.contrast)]
        seen.append((*values, batch.fakes, batch.generator_learns))
        return plain(self, learner, batch)

    monkeypatch.setattr(Adversarial, "step", spied)
    return seen


@pytest.mark.parametrize("surrogate", ["dcgan", "vae_gan", "wgan_gp"])
@pytest.mark.parametrize("real", ["members", "samples"])
def test_real_records_stand_against_known_non_members_and_nothing_generated(
    make_dcgan, queries, steps, real, surrogate
):
    # Mistake 1 of published code: both labels in every step, in equal numbers.
    snapshot = Snapshot(make_dcgan(), Streams(1))
    snapshot.samples = lambda count: of_value(50, count)
    known = Knowledge(of_value(100, 9), of_value(200, 9))
    run(snapshot, queries, known, real=real, steps=[12], surrogate={**SURROGATE, "name": surrogate})
    assert len(steps) == 12
    for shown, contrast, fakes, train_generator in steps:
        assert set(shown) == {100 if real == "members" else 50}
        assert 1 <= len(shown) <= 8
        assert contrast == [200] * 8
        assert (fakes, train_generator) == (0, False)


def test_every_known_record_is_shown(make_dcgan, queries, steps):
    known = Knowledge(*(torch.cat([of_value(first + i, 1) for i in range(20)]) for first in (0, 100)))
    run(Snapshot(make_dcgan(), Streams(1)), queries, known, real="members", steps=[30])
    shown = [value for step in steps[:3] for value in step[0]]
    assert sorted(shown[:20]) == list(range(20)), "an epoch shows each known member once"
    # 30 x 8 draws with replacement miss one of 20 with a probability of 20 * .95^240 = 9e-5.
    assert {value for step in steps for value in step[1]} == set(range(100, 120))


@pytest.mark.parametrize("surrogate", ["dcgan", "vae_gan", "wgan_gp"])
def test_known_members_against_known_non_members_never_touch_the_target(make_images, queries, surrogate):
    target = Unused(DCGAN.Config(width=4, latent=8), (1, 8, 8))
    known = Knowledge(*(to_float(torch.from_numpy(make_images(9, seed=seed))) for seed in (4, 5)))
    attack = ATTACKS.choose({**SMALL, "real": "members", "surrogate": {**SURROGATE, "name": surrogate}}).build()
    assert attack.access == Access.NONE
    scores = attack(Untouchable(target, Streams(1)), queries, known, Streams(3)).scores
    assert float(scores.values.std()) > 0
    with pytest.raises(AssertionError, match="samples were drawn"):
        run(Untouchable(target, Streams(1)), queries, known, real="samples")


def test_known_members_change_nothing_where_samples_take_their_place(make_dcgan, make_images, queries):
    snapshot = Snapshot(make_dcgan(), Streams(1))
    members, others = (to_float(torch.from_numpy(make_images(9, seed=seed))) for seed in (4, 5))
    assert torch.equal(
        run(snapshot, queries, Knowledge(members, others)).values,
        run(snapshot, queries, Knowledge(-members, others)).values,
    )


@pytest.mark.parametrize("real", ["members", "samples"])
def test_members_that_look_different_are_found_and_exchangeable_ones_are_not(real):
    # 100 queries a side: an AUC of chance deviates by sqrt(201 / 120,000) = .041; the margin is four of them.
    members, others = bright("left", 40, 1), bright("neither", 40, 2)
    target = Replay(bright("left", 60, 3), 1.0)
    settings = {"real": real, "steps": [60], "batch_size": 16, "generated": 100, "learning_rate": 2e-3}
    different = torch.cat([bright("left", 100, 4), bright("neither", 100, 5)])
    assert auc_of(run(Snapshot(target, Streams(1)), different, Knowledge(members, others), **settings), 100) > 0.9
    alike = torch.cat([bright("left", 100, 6), bright("left", 100, 7)])
    same = Knowledge(members, bright("left", 40, 8))
    assert abs(auc_of(run(Snapshot(target, Streams(1)), alike, same, **settings), 100) - 0.5) < 0.165


def test_a_higher_score_means_like_the_real_side():
    target = Replay(bright("left", 60, 3), 1.0)
    queries = torch.cat([bright("left", 50, 4), bright("right", 50, 5)])
    settings = {"real": "members", "steps": [60], "batch_size": 16, "learning_rate": 2e-3}
    left, right = bright("left", 40, 1), bright("right", 40, 2)
    assert auc_of(run(Snapshot(target, Streams(1)), queries, Knowledge(left, right), **settings), 50) > 0.9
    assert auc_of(run(Snapshot(target, Streams(1)), queries, Knowledge(right, left), **settings), 50) < 0.1


@pytest.mark.parametrize(
    ("settings", "variant"),
    [
        ({}, "_samples20"),
        ({"real": "members", "known": 30}, "_members30"),
        ({"real": "members", "surrogate": "vae_gan"}, "_vae_gan_members20"),
    ],
    ids=str,
)
def test_a_variant_tells_what_is_real_and_how_much_is_known(settings, variant):
    assert ATTACKS.choose({"name": "discriminative", **settings}).build().variant == variant


def test_fewer_known_records_than_a_batch_are_enough(make_dcgan, make_images, queries):
    one = to_float(torch.from_numpy(make_images(1, seed=4)))
    for real in ("members", "samples"):
        scores = run(Snapshot(make_dcgan(), Streams(1)), queries, Knowledge(one, -one), real=real, steps=[1, 4])
        assert bool(scores.values.isfinite().all())


def test_known_records_are_left_as_they_are(make_dcgan, make_images, queries):
    known = Knowledge(*(to_float(torch.from_numpy(make_images(9, seed=seed))) for seed in (4, 5)))
    kept = copy.deepcopy(known)
    run(Snapshot(make_dcgan(), Streams(1)), queries, known, real="members")
    assert torch.equal(known.known_members, kept.known_members)
    assert torch.equal(known.known_non_members, kept.known_non_members)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"known": 0}, "known: .*10, 20 or 30"),
        ({"known": 15}, "known: .*10, 20 or 30"),
        ({"real": "non_members"}, "real: .*'samples' or 'members'"),
        ({"share": 0.5}, "share: unknown key"),
        ({"surrogate": {"name": "began"}}, "surrogate: the discriminator of began cannot learn without a generator"),
        ({"surrogate": {"name": "dcgn"}}, "surrogate: unknown target 'dcgn'"),
    ],
    ids=str,
)
def test_wrong_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ATTACKS.choose({**SMALL, **changes})
