import numpy as np
import pytest
import torch
from scipy.stats import chi2

from mia_core.access import Snapshot
from mia_core.attacks import Euclidean, Knowledge
from mia_core.data.pool import to_float
from mia_core.metrics import judge
from mia_core.streams import Streams
from mia_core.targets import TARGETS, Copycat


@pytest.fixture
def copycat(make_images):
    return Copycat(Copycat.Config(), make_images(40))


def test_every_sample_is_a_record_and_all_are_equally_likely(copycat, p_value):
    # Errs once in 1e6 seeds.
    samples = Snapshot(copycat, Streams(0)).samples(8000)
    records = to_float(copycat.records)
    of = (samples.flatten(1)[:, None, :4] == records.flatten(1)[None, :, :4]).all(2).double()
    assert (of.sum(1) == 1).all()
    spread = ((of.sum(0) - 200) ** 2 / 200).sum()
    assert p_value(float(spread), chi2(39)) > 1e-6


def test_extreme_latents_give_the_first_and_the_last_record(copycat):
    far = copycat.generate(torch.tensor([[-50.0], [50.0]]))
    assert torch.equal(far, to_float(copycat.records[[0, -1]]))


def test_it_offers_samples_only_and_is_no_target_to_study(copycat):
    assert not copycat.offers
    assert "copycat" not in TARGETS.names()
    for refused in (
        lambda: copycat.discriminate(torch.zeros(1, 1, 8, 8)),
        lambda: copycat.draws(1, 1, 0),
        lambda: copycat.step(None, None),
    ):
        with pytest.raises(ValueError, match="copycat"):
            refused()


@pytest.mark.parametrize("ratio", [0.25, 1.0, 2.0, 5.0])
def test_a_distance_attack_has_the_known_auc_at_every_ratio_of_samples_to_records(make_images, ratio):
    # AUC = 1/2 + 1/2 (1 - e^(-N/n)). The share of members not replayed has a variance below q (1 - q) / members,
    # and placements 1/12 each; the margin is four standard errors and what e^(-N/n) exceeds (1 - 1/n)^N by.
    members, draws, q = 60, 12, np.exp(-ratio)
    found = []
    for seed in range(draws):
        queries = make_images(120, seed=seed)
        member = np.random.default_rng(seed).permutation(np.repeat([True, False], members))
        snapshot = Snapshot(Copycat(Copycat.Config(), queries[member]), Streams(seed))
        attack = Euclidean(Euclidean.Config(generated=round(ratio * members)))
        scores = attack(snapshot, to_float(torch.from_numpy(queries)), Knowledge(), Streams(seed)).scores
        found.append(judge(scores.values[0].numpy(), member).auc)
    error = ((q * (1 - q) / 4 + q / 12) / members / draws) ** 0.5
    assert abs(np.mean(found) - (0.5 + 0.5 * (1 - q))) < 4 * error + q * ratio / members
