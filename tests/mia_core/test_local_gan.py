import pytest
import torch

from mia_core.access import Snapshot
from mia_core.attacks import ATTACKS, Knowledge
from mia_core.data.pool import to_float
from mia_core.streams import Streams

SMALL = {"name": "local_gan", "generated": 40, "batch_size": 8, "surrogate": {"name": "dcgan", "width": 2, "latent": 4}}


@pytest.fixture(scope="module")
def snapshot(make_dcgan):
    return Snapshot(make_dcgan(), Streams(1))


@pytest.fixture(scope="module")
def queries(make_images):
    return to_float(torch.from_numpy(make_images(12, seed=2)))


def run(snapshot, queries, rng=3, **changes):
    return ATTACKS.choose({**SMALL, **changes}).build()(snapshot, queries, Knowledge(), Streams(rng)).scores


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
