"""Persons as privacy units: who is sampled, by which record, how far one moves a step, and what is accounted."""

import numpy as np
import pytest
import torch
from scipy.stats import binom, chi2
from torch import nn

from mia_core.batches import Sampled, SampledPersons, padded_size
from mia_core.canaries import Canaries
from mia_core.defenses import Arm, TrainingFacts, accounting, labels
from mia_core.metrics.audit import DELTAS, Guesses, Profile
from mia_core.persons import PERSON, RECORD, Persons, nominal_persons
from mia_core.secret_draws import SecretDraws
from mia_core.streams import Streams
from mia_core.targets import TARGETS
from mia_core.training import Trainer, TrainingConfig
from mia_core.training_records import Records
from tests.mia_core.states import assert_same

KEY = bytes(range(32))
DP = {"name": "dp_sgd", "sigma": 1.0, "clip": 0.5, "delta": 1e-3}
PERSONS = {**DP, "unit": "person"}
SEEDED = {**PERSONS, "sigma": 0.0}


def numbers(sizes):
    """Of the records of persons with so many, each person's next to each other."""
    return np.repeat(np.arange(len(sizes)), sizes)


def trainer(make_target, make_images, arm, persons, key=KEY, batch_size=4, size=None, nominal=None, horizon=None):
    """Of a small DCGAN on a record for each number. persons: int64 [records], or None. size, nominal: n and P."""
    count = 13 if persons is None else len(persons)
    whose = None if persons is None else Persons(persons, nominal or len(np.unique(persons)))
    config = TrainingConfig(batch_size=batch_size, learning_rate=2e-3)
    records = Records(make_images(count), size or count, whose)
    return Trainer(make_target("dcgan"), records, config, Arm.parse(arm), Streams(5), key, horizon=horizon)


@pytest.fixture
def make(make_target, make_images):
    return lambda *arguments, **more: trainer(make_target, make_images, *arguments, **more)


def sampler(persons, rate, key=KEY):
    draws = SecretDraws(key)

    def uniform(purpose):
        return lambda step, count: draws.uniform(purpose, step, count)

    return SampledPersons(uniform("poisson"), uniform("person_record"), np.asarray(persons), rate, 8)


# Sampling


def test_each_person_is_in_a_step_with_probability_q_and_each_of_their_records_as_often():
    sizes, rate, steps = [1, 2, 3, 5, 12], 0.3, 4000
    persons = np.random.default_rng(0).permutation(numbers(sizes))
    places = {number: place for place, number in enumerate(dict.fromkeys(persons.tolist()))}
    sampled = sampler(persons, rate)
    times = np.zeros(len(persons))
    together = np.zeros((len(sizes), len(sizes)))
    for step in range(steps):
        batch = sampled.rows(step)
        units = batch.units[batch.units >= 0].tolist()
        assert len(set(units)) == len(units), "a person is there once"
        records = batch.records.numpy()
        assert [places[number] for number in persons[records].tolist()] == units
        times[records] += 1
        together[np.ix_(units, units)] += 1
    in_step = np.bincount(persons, times)
    deviation = (in_step - steps * rate) / np.sqrt(steps * rate * (1 - rate))
    assert chi2.sf((deviation**2).sum(), len(sizes)) > 1e-6
    for number, size in enumerate(sizes[1:], 1):
        expected = in_step[number] / size
        assert chi2.sf(((times[persons == number] - expected) ** 2 / expected).sum(), size - 1) > 1e-6
    both = together[np.triu_indices(len(sizes), 1)]
    assert (np.minimum(binom.cdf(both, steps, rate**2), binom.sf(both, steps, rate**2)) > 1e-6).all(), "independent"


def test_what_a_person_draws_is_a_function_of_key_step_and_place_alone():
    persons = numbers([3, 1, 4, 2, 6])
    whole, fewer = sampler(persons, 0.5), sampler(persons[:-6], 0.5)
    longer = sampler(np.concatenate([persons, [9] * 3]), 0.5)
    for step in (7, 0, 300, 7):
        batches = [one.rows(step).records.tolist() for one in (whole, fewer, longer)]
        assert [record for record in batches[0] if record < len(persons) - 6] == batches[1]
        assert [record for record in batches[2] if record < len(persons)] == batches[0]
    assert sampler(persons, 0.5, bytes(32)).rows(0).records.tolist() != whole.rows(0).records.tolist()


def test_a_larger_sample_than_the_padding_is_whole_and_padding_is_no_unit():
    everybody = sampler(numbers([2] * 20), 1.0)
    batch = everybody.rows(0)
    assert len(batch.index) == 24 and len(batch.records) == 20
    assert batch.units.tolist() == [*range(20), -1, -1, -1, -1]


def test_persons_of_one_record_each_are_sampled_as_records_are():
    single = sampler(np.random.default_rng(1).permutation(50), 0.3)
    records = Sampled(lambda step, count: SecretDraws(KEY).uniform("poisson", step, count), 50, 0.3, 8)
    for step in range(20):
        one, other = single.rows(step), records.rows(step)
        assert torch.equal(one.index, other.index) and torch.equal(one.units, other.units)


@pytest.mark.parametrize("spec", [DP, {**DP, "sigma": 0.0}], ids=["secret", "seeded"])
def test_where_each_record_is_a_person_of_its_own_training_is_the_same_to_the_bit(make, spec):
    record, person = (make({**spec, "unit": unit}, np.arange(13)) for unit in (RECORD, PERSON))
    for one in (record, person):
        one.run_to(9)
    assert_same(person, record)
    assert person.epsilon == record.epsilon


def test_the_seeded_arm_draws_records_of_persons_from_names_alone(make):
    persons = numbers([1, 4, 2, 6])
    one, other = make(SEEDED, persons, key=None), make(SEEDED, persons, key=None)
    for step in (0, 3, 70):
        assert one.batches.rows(step).records.tolist() == other.batches.rows(step).records.tolist()
    assert one.epsilon is None


@pytest.mark.parametrize("spec", [PERSONS, SEEDED], ids=["secret", "seeded"])
def test_who_is_in_and_by_which_record_are_draws_of_their_own(make, spec):
    # By one draw for both, whoever is in at a rate of a half would be there by the first half of their records.
    trained = make(spec, numbers([1, 4, 2, 6]), batch_size=2)
    sampled = {record for step in range(200) for record in trained.batches.rows(step).records.tolist()}
    assert sampled == set(range(13))


# What a person moves


def released(sampled, rule, step, count):
    """What a step adds to a judge's gradient, times B: clipped gradients and noise. Records all pull one way, by 100.

    count: weights of the judge.
    """
    judge = nn.Linear(count, 1, bias=False).double()
    rows = sampled.rows(step)
    records = torch.ones(len(rows.index), count, dtype=torch.float64)
    rule({"judge": judge}, lambda networks, x: {"judge": 100 * networks["judge"](x).flatten()}, (records,), rows)
    return judge.weight.grad.flatten() * rule.expected_batch


def largest_move(make, spec, records, batch_size, steps=60):
    """How far the sums with and without the last person, who has so many records, are apart at most, over C.

    Neighbors have one nominal n and P, and one key, so that noise and everybody else's draws are the same.
    """
    persons = numbers([*range(1, 21), records])
    known = {"batch_size": batch_size, "size": len(persons), "nominal": 21}
    most = 0.0
    trainers = [make(spec, own, **known) for own in (persons, persons[:-records])]
    for step in range(steps):
        sums = [released(one.batches, one.learner.rule, step, 3) for one in trainers]
        most = max(most, float((sums[0] - sums[1]).norm()) / spec["clip"])
    return most


@pytest.mark.parametrize("records", [1, 5, 20])
def test_a_person_of_any_number_of_records_moves_a_step_by_at_most_clip(make, records):
    assert 0.999 < largest_move(make, PERSONS, records, 12) <= 1 + 1e-9


def test_per_record_a_person_of_20_records_moves_a_step_by_several_times_clip(make):
    assert largest_move(make, DP, 20, 100) > 8


# Accounting


def test_epsilon_is_that_of_batch_size_over_persons(make):
    persons = numbers([1, 4, 2, 6, 3, 4])  # 20 records of 6 persons
    trained = make(PERSONS, persons)
    trained.run_to(5)
    assert trained.epsilon == accounting.epsilon(((1.0, 4 / 6, 5),), 1e-3) == trained.arm.epsilon(4 / 6, 5)
    assert trained.epsilon > accounting.epsilon(((1.0, 4 / 20, 5),), 1e-3)
    assert trained.batches.rate == 4 / 6
    assert trained.batches.size == padded_size(6, 4 / 6)
    assert trained.next_epoch_step == 10, "an epoch is n records"


def test_the_noise_for_a_target_epsilon_is_found_at_the_rate_of_persons(make):
    aimed = {"name": "dp_sgd", "target_epsilon": 8.0, "clip": 0.5, "delta": 1e-3, "unit": "person"}
    trained = make(aimed, numbers([1, 4, 2, 6, 3, 4]), batch_size=6, horizon=1)
    assert trained.accountant.sigma == accounting.noise_multiplier(8.0, 1e-3, 1.0, 1)
    trained.run_to(1)
    assert 0.99 * 8 < trained.epsilon <= 8


def test_a_state_of_persons_goes_on_bit_for_bit_and_one_of_records_is_refused(make):
    persons = numbers([1, 4, 2, 6, 3, 4])
    whole, begun, resumed = (make(PERSONS, persons) for _ in range(3))
    whole.run_to(12)
    begun.run_to(5)
    resumed = make(PERSONS, persons, key=bytes(32))
    resumed.restore(*begun.state(unsealed=True))  # with the key
    resumed.run_to(12)
    assert_same(resumed, whole)
    with pytest.raises(ValueError, match=r"does not belong to an arm of sigma 1 and sampling rate 0\.2"):
        make(DP, persons).restore(*begun.state(unsealed=True))


@pytest.mark.parametrize(
    ("sizes", "train_size", "expected"), [([1] * 10, 4, 4), ([1, 3, 2, 6], 6, 2), ([10], 4, 1), ([2, 3], 8, 3)]
)
def test_nominal_persons_are_a_training_set_share_of_the_pools(sizes, train_size, expected):
    assert nominal_persons(numbers(sizes), train_size) == expected
    train = np.arange(3)
    whose = Persons.of(numbers(sizes)[::-1], train, train_size)
    assert whose.nominal == expected, "whoever is drawn"
    assert whose.numbers.tolist() == numbers(sizes)[::-1][:3].tolist()


# Arms


def test_an_arm_says_its_unit_and_records_are_the_default_that_changes_no_id():
    record, person = Arm.parse(DP), Arm.parse(PERSONS)
    assert Arm.parse({**DP, "unit": "record"}) == record
    assert "unit" not in record.to_list()[0] and person.to_list()[0]["unit"] == "person"
    assert Arm.parse(person.to_list()) == person
    assert labels([record, person]) == ["dp_sgd sigma=1", "dp_sgd sigma=1 unit=person"]
    assert Arm.parse([PERSONS, "dropout"]).label == "dp_sgd sigma=1 unit=person + dropout 0.5"
    assert person.columns() == record.columns(), "a column of trials says the unit"
    assert (record.unit, person.unit, Arm.parse("dropout").unit) == ("record", "person", None)
    with pytest.raises(ValueError, match=r"defense\.unit: .*got 'patient'"):
        Arm.parse({**DP, "unit": "patient"})


def test_a_delta_of_one_over_persons_or_more_and_more_than_all_persons_are_refused(make):
    arm = Arm.parse(PERSONS)
    assert arm.empty_guarantee(5000, 999) is None, "delta is over persons"
    assert "must be below 1/1000, for 1000 persons, or" in arm.empty_guarantee(5000, 1000)
    with pytest.raises(ValueError, match="must be below 1/2, for 2 persons,"):
        make({**PERSONS, "delta": 0.5}, numbers([4, 9]), batch_size=2)
    with pytest.raises(ValueError, match=r"each person .* 4 / 3 is above 1 \(13 records are of 3 persons nominally\)"):
        make(PERSONS, numbers([3, 4, 6]))
    with pytest.raises(ValueError, match="4 / 3 is above 1"):
        make(SEEDED, numbers([3, 4, 6]))
    make(DP, numbers([3, 4, 6]))  # per record there is no such bound


def test_persons_have_to_be_known(make, make_target, make_images):
    with pytest.raises(ValueError, match="unit: person needs to know which records are whose"):
        make(PERSONS, None)
    with pytest.raises(ValueError, match="unit: person needs to know"):
        Arm.parse(PERSONS).sampling_rate(100, 10)
    with pytest.raises(ValueError, match=r"13 records need as many numbers of persons, got \(12,\)"):
        Records(make_images(13), 13, Persons(np.arange(12), 13))


# Canaries and audits


def test_a_gradient_canary_is_a_person_of_its_own_and_moves_by_the_clip_each_time_it_is_drawn(make_images):
    choice = TARGETS.choose({"name": "dcgan", "width": 4, "latent": 4})
    canaries = Canaries("gradient", 60, choice, (1, 8, 8), Streams("canaries", 1))
    persons = canaries.join_persons(Persons(numbers([4, 9, 7]), 20))
    assert persons.numbers[:20].tolist() == numbers([4, 9, 7]).tolist() and persons.nominal == 20
    assert len(np.unique(persons.numbers)) == 3 + canaries.coins.sum()
    images = canaries.join(make_images(20))
    trained = Trainer(choice.build((1, 8, 8)), Records(images, 20, persons), TrainingConfig(batch_size=10),
                      Arm.parse(SEEDED), Streams("training"), KEY, around=canaries.around)  # fmt: skip
    drawn = np.zeros(len(images))
    for step in range(1, 13):
        trained.run_to(step)
        drawn[trained.batches.rows(step - 1).records] += 1
    expected = np.zeros(60)
    expected[canaries.coins] = drawn[20:] * 0.5 / 10
    assert drawn[20:].sum() > 50
    np.testing.assert_allclose(canaries.scores(trained), expected, rtol=1e-5, atol=1e-7)


COUNT, EACH, BATCH, STEPS, SIGMA = 600, 10, 100, 100, 4.0


def guessed(unit, seed=3):
    """Scores and coins of `COUNT` persons of `EACH` records, all of which pull one coordinate of the person's own.

    Half of the persons are trained on, under the arm's own sampling and rule; scores are the sums of what is released.
    """
    arm = Arm.parse({"name": "dp_sgd", "sigma": SIGMA, "clip": 1.0, "delta": 1e-5, "unit": unit})
    coins = np.random.default_rng(seed).random(COUNT) < 0.5
    persons = np.repeat(np.flatnonzero(coins), EACH)
    nominal = COUNT // 2
    rate = arm.sampling_rate(nominal * EACH, BATCH, nominal)
    draws = SecretDraws(seed.to_bytes(32, "big"))
    whose = Persons(persons, nominal)
    rule, _ = arm.gradients(TrainingFacts(len(persons), nominal * EACH, BATCH, Streams(), draws, persons=whose))
    if unit == PERSON:
        sampled = SampledPersons(lambda *a: draws.uniform("poisson", *a), lambda *a: draws.uniform("person_record", *a),
                                 persons, rate, BATCH)  # fmt: skip
    else:
        sampled = Sampled(lambda *a: draws.uniform("poisson", *a), len(persons), rate, BATCH)
    network = nn.Linear(COUNT, 1, bias=False)
    for step in range(STEPS):
        rows = sampled.rows(step)
        own = nn.functional.one_hot(torch.from_numpy(persons)[rows.index], COUNT).float()
        rule({"judge": network}, lambda networks, x: {"judge": 100 * networks["judge"](x).flatten()}, (own,), rows)
    return network.weight.grad.flatten().numpy(), coins, rate


def p_of_claim(unit):
    """p of the claim that what the accountant says of the arm holds for each person."""
    scores, coins, rate = guessed(unit)
    found = Guesses.of(scores, coins, np.random.default_rng(0))
    epsilons = accounting.profile(((SIGMA, rate, STEPS),), DELTAS)
    return found.contradict(Profile(np.array(epsilons), np.array(DELTAS)))[2]


def test_an_audit_by_persons_contradicts_an_epsilon_per_record_read_per_person_and_not_one_per_person():
    assert p_of_claim(RECORD) < 1e-3
    assert p_of_claim(PERSON) > 0.05
