"""What can be attacked: samples of each kind of model are one fixed sequence, and mistakes are said in a line."""

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from mia_core.attacks import ATTACKS, Euclidean, Knowledge
from mia_core.data.pool import to_float
from mia_core.errors import Refused
from mia_core.metrics import judge
from mia_core.models import Copycat, SampleFolder, Sampler, Snapshot
from mia_core.streams import Streams
from mia_core.targets import TARGETS

KINDS = ("snapshot", "folder", "sampler", "copycat")
every_kind = pytest.mark.parametrize("kind", KINDS)


def noise(count, generator):
    return torch.rand(count, 1, 8, 8, generator=generator) * 2 - 1


@pytest.fixture
def make_model(make_dcgan, make_images):
    def make(kind, seed=1):
        if kind == "snapshot":
            return Snapshot(make_dcgan(), Streams(seed))
        if kind == "folder":
            return SampleFolder(make_images(700, seed=seed))
        return Sampler(noise, seed) if kind == "sampler" else Copycat(make_images(900), Streams(seed))

    return make


@every_kind
@pytest.mark.parametrize("counts", [(0, 7), (255, 256), (256, 257), (10, 600)])
def test_samples_of_a_smaller_count_are_a_prefix(make_model, kind, counts):
    fewer, more = counts
    model = make_model(kind)
    first = model.samples(fewer)
    assert first.shape == (fewer, 1, 8, 8)
    assert (first.dtype, model.record_shape, model.device.type) == (torch.float32, (1, 8, 8), "cpu")
    assert torch.equal(model.samples(more)[:fewer], first)
    assert torch.equal(make_model(kind).samples(more)[:fewer], first)


@every_kind
def test_samples_differ_within_and_between_chunks_and_between_seeds(make_model, kind):
    # Mistake 1 of published code: a sampler that always draws from the same place. A copycat repeats its records.
    samples = make_model(kind).samples(600)
    assert len(torch.unique(samples, dim=0)) > (400 if kind == "copycat" else 599)
    assert not torch.equal(make_model(kind, seed=2).samples(5), samples[:5])


@every_kind
def test_modifying_returned_samples_does_not_change_later_ones(make_model, kind):
    model = make_model(kind)
    for count in (300, 256, 5):
        kept = model.samples(count).clone()
        model.samples(count).zero_()
        assert torch.equal(model.samples(count), kept)


@every_kind
def test_samples_ignore_the_global_seed(make_model, kind):
    first = make_model(kind).samples(5)
    torch.manual_seed(77)
    assert torch.equal(make_model(kind).samples(5), first)


@every_kind
def test_whatever_offers_samples_is_attacked_by_what_uses_samples_alone(make_model, kind, make_images):
    model, queries = make_model(kind), to_float(torch.from_numpy(make_images(9, seed=5)))
    attack = Euclidean(Euclidean.Config(generated=300))
    scores = attack(model, queries, Knowledge(), Streams(0)).scores.values[0]
    expected = -torch.cdist(queries.flatten(1).double(), model.samples(300).flatten(1).double()).min(1).values
    torch.testing.assert_close(scores.double(), expected, rtol=1e-6, atol=1e-6)
    if kind != "snapshot":
        with pytest.raises(Refused, match=f"^white_box: {model.name} does not offer discriminate$"):
            ATTACKS.choose("white_box").build()(model, queries, Knowledge(), Streams(0))


# A folder of samples


def test_a_folder_has_the_samples_it_was_given_as_bytes_or_floats(make_images):
    images = make_images(6)
    expected = to_float(torch.from_numpy(images))
    for given in (images, torch.from_numpy(images), expected, expected.double().numpy()):
        assert torch.equal(SampleFolder(given).samples(6), expected)


def test_more_samples_than_a_folder_has_are_refused_with_the_way_out(make_images):
    queries = to_float(torch.from_numpy(make_images(3)))
    with pytest.raises(
        Refused, match=r"^a folder of samples: 2000 samples are asked for, and there are 50; lower .*`gen"
    ):
        Euclidean(Euclidean.Config())(SampleFolder(make_images(50)), queries, Knowledge(), Streams(0))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((0, 1, 8, 8), np.uint8), r"images must be \[N,C,H,W\], got \[0, 1, 8, 8\]"),
        (np.zeros((8, 8), np.uint8), r"images must be \[N,C,H,W\], got \[8, 8\]"),
        (np.full((2, 1, 8, 8), 1.5), r"images must be uint8, or float in \[-1, 1\]"),
        (np.full((2, 1, 8, 8), np.nan), r"images must be uint8, or float in \[-1, 1\]"),
        (np.zeros((2, 1, 8, 8), np.int64), r"images must be uint8, or float in \[-1, 1\]"),
    ],
)
def test_what_is_no_images_is_refused(images, message):
    with pytest.raises(Refused, match=f"^a folder of samples: {message}$"):
        SampleFolder(images)
    with pytest.raises(Refused, match=r"^a sampler: "):
        Sampler(lambda count, generator: images).samples(1)


# A sampler


def test_a_sampler_is_asked_for_one_chunk_after_another_each_with_numbers_of_its_own():
    asked = []

    def draw(count, generator):
        asked.append((count, torch.randint(0, 10**9, (), generator=generator).item()))
        return np.zeros((count, 3, 4, 4), dtype=np.uint8)

    sampler = Sampler(draw)
    assert sampler.record_shape == (3, 4, 4)
    sampler.samples(600)
    sampler.samples(5)
    assert [count for count, _ in asked] == [256, 256, 256]
    assert len({number for _, number in asked}) == 3


def test_a_sampler_that_draws_another_number_or_shape_is_refused():
    with pytest.raises(
        Refused, match=r"^a sampler: 256 images of one shape are asked for, and it draws \[7, 1, 4, 4\]$"
    ):
        Sampler(lambda count, generator: torch.zeros(7, 1, 4, 4)).samples(1)
    sizes = iter((4, 5))
    growing = Sampler(lambda count, generator: torch.zeros(count, 1, (size := next(sizes)), size))
    with pytest.raises(Refused, match=r"it draws \[256, 1, 5, 5\]$"):
        growing.samples(257)


# A copycat


def test_every_sample_of_a_copycat_is_a_record_and_all_are_equally_likely(make_images, p_value):
    # Errs once in 1e6 seeds.
    records = to_float(torch.from_numpy(make_images(40)))
    samples = Copycat(make_images(40), Streams(0)).samples(8000)
    of = (samples.flatten(1)[:, None, :4] == records.flatten(1)[None, :, :4]).all(2).double()
    assert (of.sum(1) == 1).all()
    spread = ((of.sum(0) - 200) ** 2 / 200).sum()
    assert p_value(float(spread), chi2(39)) > 1e-6


def test_a_copycat_is_no_target_to_study_and_offers_samples_alone():
    assert "copycat" not in TARGETS.names()
    assert Copycat.offers == {"samples"}


@pytest.mark.parametrize("ratio", [0.25, 1.0, 2.0, 5.0])
def test_a_distance_attack_has_the_known_auc_at_every_ratio_of_samples_to_records(make_images, ratio):
    # AUC = 1/2 + 1/2 (1 - e^(-N/n)). The share of members not replayed has a variance below q (1 - q) / members,
    # and placements 1/12 each; the margin is four standard errors and what e^(-N/n) exceeds (1 - 1/n)^N by.
    members, draws, q = 60, 12, np.exp(-ratio)
    found = []
    for seed in range(draws):
        queries = make_images(120, seed=seed)
        member = np.random.default_rng(seed).permutation(np.repeat([True, False], members))
        attack = Euclidean(Euclidean.Config(generated=round(ratio * members)))
        copycat = Copycat(queries[member], Streams(seed))
        scores = attack(copycat, to_float(torch.from_numpy(queries)), Knowledge(), Streams(seed)).scores
        found.append(judge(scores.values[0].numpy(), member).auc)
    error = ((q * (1 - q) / 4 + q / 12) / members / draws) ** 0.5
    assert abs(np.mean(found) - (0.5 + 0.5 * (1 - q))) < 4 * error + q * ratio / members
