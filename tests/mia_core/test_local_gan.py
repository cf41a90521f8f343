import numpy as np
import pytest
import torch

from mia_core.attacks import ATTACKS, Knowledge
from mia_core.attacks.surrogate import to_uint8, with_share
from mia_core.data.pool import to_float
from mia_core.metrics import judge
from mia_core.models import Snapshot
from mia_core.streams import Streams
from mia_core.targets import BEGAN, Adversarial
from tests.mia_core.marked_images import bright, of_value
from tests.mia_core.replay import Replay

SMALL = {"name": "local_gan", "generated": 40, "batch_size": 8, "surrogate": {"name": "dcgan", "width": 2, "latent": 4}}


@pytest.fixture(scope="module")
def snapshot(make_dcgan):
    return Snapshot(make_dcgan(), Streams(1))


@pytest.fixture(scope="module")
def queries(make_images):
    return to_float(torch.from_numpy(make_images(12, seed=2)))


def run(snapshot, queries, rng=3, knowledge=None, **changes):
    attack = ATTACKS.choose({**SMALL, **changes}).build()
    return attack(snapshot, queries, knowledge or Knowledge(), Streams(rng)).scores


def test_the_surrogate_trains_on_the_targets_first_samples(make_dcgan, snapshot, queries):
    # Another target, or more samples of the same, give other scores; the same samples give the same.
    scores = run(snapshot, queries, steps=[20]).values
    assert torch.equal(run(Snapshot(snapshot.target, Streams(1)), queries, steps=[20]).values, scores)
    assert not torch.equal(run(Snapshot(snapshot.target, Streams(2)), queries, steps=[20]).values, scores)
    assert not torch.equal(run(Snapshot(make_dcgan(seed=8), Streams(1)), queries, steps=[20]).values, scores)
    assert not torch.equal(run(snapshot, queries, steps=[20], generated=41).values, scores)


def test_the_surrogates_architecture_is_the_attackers_own(make_dcgan, queries):
    target = make_dcgan(width=4)
    assert target.config.width != SMALL["surrogate"]["width"]
    wide = run(Snapshot(target, Streams(1)), queries, steps=[5])
    other = run(Snapshot(target, Streams(1)), queries, steps=[5], surrogate={"name": "dcgan", "width": 3, "latent": 4})
    assert not torch.equal(wide.values, other.values)


@pytest.mark.long
def test_what_the_target_generates_scores_higher_than_what_it_does_not(make_dcgan):
    # A target that makes dark images only, and a surrogate that has to learn so; bright queries are unlike them.
    target = make_dcgan()
    with torch.no_grad():
        target.generator[-2].bias.fill_(-3.0)
    snapshot = Snapshot(target, Streams(1))
    dark, bright = snapshot.samples(300)[250:], -snapshot.samples(300)[250:]
    scores = run(snapshot, torch.cat([dark, bright]), steps=[150], learning_rate=2e-3).values[0]
    assert float(scores[:50].min()) > float(scores[50:].max())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": []}, "steps: .*at least 1"),
        ({"steps": [100, 50]}, "steps: levels must ascend"),
        ({"steps": [50, 50]}, "steps: levels must ascend"),
        ({"steps": [0, 50]}, "steps.0: .*greater than 0"),
        ({"generated": 1}, "generated: .*greater than 1"),
        ({"surrogate": {"name": "dcgn"}}, "surrogate: unknown target 'dcgn'; did you mean 'dcgan'"),
        ({"surrogate": {"name": "dcgan", "widht": 3}}, "widht: unknown key; did you mean 'width'"),
    ],
    ids=str,
)
def test_wrong_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ATTACKS.choose({**SMALL, **changes})


def test_the_written_settings_spell_out_the_surrogates_defaults():
    assert ATTACKS.choose({"name": "local_gan", "surrogate": {"name": "dcgan", "width": 3}}).to_dict()["surrogate"] == {
        "name": "dcgan",
        "width": 3,
        "latent": 64,
        "norm": "group",
    }


# With known records

SIDES = ["members", "non_members", "both"]


def values_of(x):
    return [] if x is None else ((x[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


@pytest.fixture
def steps(monkeypatch):
    """What each step showed a surrogate: pixel values of the real side and of the known fake side, and the fakes."""
    seen = []

    def spied(plain):
        def step(self, learner, batch):
            seen.append((values_of(batch.real), values_of(batch.contrast), batch.fakes, batch.generator_learns))
            return plain(self, learner, batch)

        return step

    for target in (BEGAN, Adversarial):
        monkeypatch.setattr(target, "step", spied(target.step))
    return seen


@pytest.mark.parametrize("surrogate", ["dcgan", "began", "vae_gan", "wgan_gp"])
@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("share", [0.25, 0.5])
def test_known_records_stand_on_their_side_in_the_declared_share_and_nowhere_else(
    make_dcgan, queries, steps, surrogate, sides, share
):
    # Mistake 1 of published code. 48 samples of value 50, known members of value 100, known non-members of value 200.
    snapshot = Snapshot(make_dcgan(), Streams(1))
    snapshot.samples = lambda count: of_value(50, count)
    members = round(48 * share / (1 - share)) if sides != "non_members" else 0
    epoch = -(-(48 + members) // 8)
    settings = {"known": 20, "sides": sides, "share": share, "generated": 48, "steps": [epoch]}
    known = Knowledge(of_value(100, 7), of_value(200, 5))
    run(snapshot, queries, knowledge=known, surrogate={"name": surrogate, "width": 2, "latent": 4}, **settings)
    assert len(steps) == epoch
    real = [value for shown, *_ in steps for value in shown]
    assert sorted(set(real)) == ([50, 100] if members else [50])
    assert (real.count(50), real.count(100)) == (48, members)
    contrasted = 0 if sides == "members" else round(share * 8)
    for shown, contrast, fakes, generator_learns in steps:
        assert 7 <= len(shown) <= 8
        assert contrast == [200] * contrasted
        assert fakes == 8 - contrasted
        assert generator_learns


def test_without_knowledge_known_records_are_not_looked_at(snapshot, queries):
    plain = run(snapshot, queries, steps=[5]).values
    known = Knowledge(of_value(100, 7), of_value(200, 5), of_value(7, 3))
    assert torch.equal(run(snapshot, queries, knowledge=known, steps=[5]).values, plain)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize(("images", "known"), [(40, 3), (40, 40), (30, 100), (7, 1), (2000, 12)])
def test_with_share_keeps_every_record_and_the_share_to_a_record(images, known, share):
    mixed = with_share(np.arange(images), 10_000 + np.arange(known), share)
    assert set(mixed) == {*range(images), *range(10_000, 10_000 + known)}
    inside = int((mixed >= 10_000).sum())
    assert abs(inside - share * len(mixed)) <= 1
    counts = np.unique(mixed, return_counts=True)[1]
    assert np.ptp(counts[:images]) <= 1, "no sample is favored"
    assert np.ptp(counts[images:]) <= 1, "no known record is favored"


def test_bytes_survive_the_way_to_floats_and_back(make_images):
    images = np.arange(256, dtype=np.uint8).reshape(4, 1, 8, 8)
    assert np.array_equal(to_uint8(to_float(torch.from_numpy(images))), images)


@pytest.mark.parametrize("surrogate", ["dcgan", "began", "vae_gan", "wgan_gp"])
def test_nested_levels_with_known_records_equal_attacks_of_one_level_bit_for_bit(
    make_images, snapshot, queries, surrogate
):
    known = Knowledge(*(to_float(torch.from_numpy(make_images(9, seed=seed))) for seed in (4, 5)))
    settings = {"known": 20, "surrogate": {"name": surrogate, "width": 2, "latent": 4}}
    nested = run(snapshot, queries, knowledge=known, steps=[4, 9, 12], **settings)
    for row, level in zip(nested.values, nested.levels, strict=True):
        assert torch.equal(row, run(snapshot, queries, knowledge=known, steps=[level], **settings).values[0])
    assert not torch.equal(nested.values[0], nested.values[2])


@pytest.mark.long
@pytest.mark.parametrize("sides", ["members", "both"])
def test_known_members_show_what_a_target_that_dropped_a_mode_does_not(sides):
    # The target memorized its left-bright members and lost the right-bright ones: from its samples alone the latter
    # look like anybody. An AUC of 100 against 100 deviates by at most .041 (no signal), so that two differ by .06;
    # the margin is more than three of them.
    target = Replay(bright("left", 60, 3), 1.0)
    queries = torch.cat([bright("left", 50, 4), bright("right", 50, 5), bright("neither", 100, 6)])
    known = Knowledge(torch.cat([bright("left", 20, 7), bright("right", 20, 8)]), bright("neither", 40, 9))
    settings = {"steps": [150], "generated": 100, "batch_size": 16, "learning_rate": 2e-3}
    settings["surrogate"] = {"name": "dcgan", "width": 4, "latent": 4}

    def auc(**more):
        scores = run(Snapshot(target, Streams(1)), queries, knowledge=known, **settings, **more).values[0]
        return judge(scores.numpy(), np.repeat([True, False], 100)).auc

    assert auc(known=20, sides=sides) > auc() + 0.2


@pytest.mark.parametrize(
    ("settings", "variant"),
    [
        ({}, ""),
        ({"known": 20}, "_known20"),
        ({"known": 10, "sides": "members"}, "_members10"),
        ({"known": 30, "sides": "non_members"}, "_non_members30"),
        ({"surrogate": "began"}, "_began"),
        ({"known": 20, "surrogate": "vae_gan"}, "_vae_gan_known20"),
    ],
    ids=str,
)
def test_a_variant_tells_the_surrogate_and_what_is_known(settings, variant):
    assert ATTACKS.choose({"name": "local_gan", **settings}).build().variant == variant


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"known": 15}, "known: .*0, 10, 20 or 30"),
        ({"known": 20, "share": 1.0}, "share: .*less than 1"),
        ({"known": 20, "share": 0.0}, "share: .*greater than 0"),
        ({"sides": "members"}, "sides: say how many percent are known; known is 0"),
        ({"known": 0, "sides": "non_members"}, "sides: say how many percent are known"),
        ({"known": 20, "sides": "all"}, "sides: .*'members', 'non_members' or 'both'"),
    ],
    ids=str,
)
def test_wrong_settings_of_knowledge_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ATTACKS.choose({**SMALL, **changes})
