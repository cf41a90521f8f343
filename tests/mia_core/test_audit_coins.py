"""Coins of a panel: how often they fall, what each decides about, and which an audit may judge a claim by."""

import numpy as np
import pytest
from scipy.stats import binom, chi2

from mia_core.data import SPLITS
from tests.mia_core.split_cases import PANEL, SIZES, build, same


def test_fair_coins_are_the_default_and_change_neither_ids_nor_draws(plain):
    without, named = (SPLITS.choose({"name": "panel", **PANEL, **more}) for more in ({}, {"probability": 0.5}))
    assert without.to_dict() == named.to_dict() == {
        "name": "panel", "groups": "keep", "near_duplicates": None, **PANEL, "filler": "fill",
    }  # fmt: skip
    assert same(without.build(plain, SIZES, 1).membership(3, 80), named.build(plain, SIZES, 1).membership(3, 80))
    assert SPLITS.choose({"name": "panel", **PANEL, "probability": 0.2}).to_dict()["probability"] == 0.2


@pytest.mark.parametrize("filler", ["fill", "fixed"])
def test_coins_of_another_probability_fall_so_often_for_every_record(plain, p_value, filler):
    # Each of the two checks errs once in 1e6 seeds.
    split = build("panel", plain, (50, 80), panel=200, probability=0.15, extra_non_members=0, filler=filler)
    replicates = 1500
    coins = np.stack([split.membership(replicate, 50).member for replicate in range(replicates)])
    assert coins.shape == (replicates, 200)
    assert p_value(coins.sum(), binom(coins.size, 0.15)) > 1e-6
    spread = (coins.sum(0) - 0.15 * replicates) ** 2 / (0.15 * 0.85 * replicates)
    assert p_value(spread.sum(), chi2(200)) > 1e-6
    split.check_sizes(50, (50, 80))
    lengths = [len(split.membership(replicate, 80).train) for replicate in range(400)]
    if filler == "fill":
        assert set(lengths) == {80}
    else:  # the standard error of the mean is (200 x .15 x .85)^.5 / 20 = .25
        assert abs(np.mean(lengths) - 80) < 1
        assert abs(np.std(lengths) - (200 * 0.15 * 0.85) ** 0.5) < 0.8
    assert len(split.coins) == 0


def test_the_default_studys_sizes_fit_to_a_record(plain):
    split = build("panel", plain, (100,), reference=0, unseen=0, panel=440, probability=0.159, extra_non_members=0,
                  known=30, filler="fixed")  # fmt: skip
    assert split._expected(440) + 30 == 100
    with pytest.raises(ValueError, match=r"0\.16 x 440 records and 31 known"):
        build("panel", plain, (100,), reference=0, unseen=0, panel=440, probability=0.16, extra_non_members=0, known=31)


class OneCoinTurned:
    """A split's streams with the coin of one unit of the panel turned."""

    def __init__(self, streams, unit):
        self.streams, self.unit = streams, unit

    def numpy(self, purpose, *counter):
        self.stream = self.streams.numpy(purpose, *counter)
        return self if purpose == "coins" else self.stream

    def integers(self, *arguments):
        coins = self.stream.integers(*arguments)
        coins[self.unit] ^= 1
        return coins


@pytest.mark.parametrize(("filler", "changed"), [("fixed", 1), ("fill", 2)])
def test_a_coin_changes_one_record_of_the_training_set_or_swaps_it_for_filler(plain, filler, changed):
    split = build("panel", plain, filler=filler)
    assert split.coin_swaps == (changed == 2)
    for replicate, unit in [(0, 0), (1, 30), (2, 59)]:
        before = [split.membership(replicate, size).train for size in SIZES]
        whole, split.streams = split.streams, OneCoinTurned(split.streams, unit)
        for train, size in zip(before, SIZES, strict=True):
            turned = split.membership(replicate, size).train
            different = set(train) ^ set(turned)
            assert len(different) == (1 if size == 50 and len(train) != 50 else changed)
            assert split.panel[unit] in different
        split.streams = whole


def test_with_fixed_filler_sizes_vary_as_coins_do_and_stay_nested(plain):
    split = build("panel", plain, filler="fixed")
    split.check_sizes(50, SIZES)
    for size in SIZES:
        lengths = [len(split.membership(replicate, size).train) for replicate in range(400)]
        panel = [split.membership(replicate, size).member.sum() for replicate in range(400)]
        assert [n - size for n in lengths] == [n - 30 for n in panel]
        assert abs(np.std(lengths) - 60**0.5 / 2) < 0.6  # its standard error is .14
    small, large = (set(split.membership(3, size).train) for size in (50, 120))
    assert small < large


def test_only_records_with_a_coin_of_their_own_are_audited(plain, grouped):
    split = build("panel", plain)
    assert np.array_equal(split.coins, np.sort(split.panel))
    split = build("panel", grouped, filler="fixed")
    counts = np.bincount(split.units)
    assert 0 < len(split.coins) < len(split.panel)
    assert set(split.coins) == {record for record in split.panel if counts[split.units[record]] == 1}
    assert len(build("logan", plain).coins) == 0


@pytest.mark.parametrize("groups", ["keep", "ignore"])
@pytest.mark.parametrize("filler", ["fixed", "fill"])
def test_a_claim_per_person_is_audited_by_coins_that_change_one_persons_records_and_no_others(grouped, filler, groups):
    split = build("panel", grouped, filler=filler, groups=groups)
    records = np.bincount(grouped.units)
    assert np.array_equal(split.coins_of("record"), split.coins)
    sole = {record for record in split.coins if records[grouped.units[record]] == 1}
    expected = set() if filler == "fill" else sole
    assert set(split.coins_of("person")) == expected
    if groups == "keep":
        assert np.array_equal(split.coins_of("person"), split.coins)
    elif filler == "fixed":
        assert len(split.coins) > len(sole) > 0, "a coin about a record of a person who has others is none"
    for record in sorted(expected)[:5]:
        before = set(split.membership(1, 120).train)
        unit = int(np.flatnonzero(split._panel.records == record)[0])
        whole, split.streams = split.streams, OneCoinTurned(split.streams, _unit_of(split, unit))
        changed = before ^ set(split.membership(1, 120).train)
        split.streams = whole
        assert changed == {record}
        assert not {grouped.units[one] for one in changed} & {grouped.units[one] for one in before - changed}


def _unit_of(split, place):
    """The number of the panel's unit that has a record at a place of the panel."""
    return int(np.searchsorted(np.cumsum(split._panel.sizes), place, side="right"))


def test_a_coin_that_swaps_in_filler_of_a_person_with_others_audits_no_claim_per_person(make_pool):
    split = build("panel", make_pool(400, 1, largest_group=4), filler="fill", groups="ignore")
    assert len(split.coins_of("record")) == len(split.panel)
    assert len(split.coins_of("person")) == 0


def test_where_nobody_has_several_records_coins_that_swap_audit_claims_per_person_too(plain):
    split = build("panel", plain, filler="fill")
    assert len(split.coins) and np.array_equal(split.coins_of("person"), split.coins)


def test_coins_that_exchange_more_than_two_records_are_not_audited(grouped):
    # Filling up with whole groups: a record that comes in may put a whole group out.
    split = build("panel", grouped, filler="fill")
    before = set(split.membership(0, 50).train)
    changed = []
    for unit in np.flatnonzero(split._panel.sizes == 1):
        whole, split.streams = split.streams, OneCoinTurned(split.streams, unit)
        changed.append(len(before ^ set(split.membership(0, 50).train)))
        split.streams = whole
    assert max(changed) > 2
    assert len(split.coins) == 0
