import dataclasses
from collections import defaultdict
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, chi2

from mia_core.data import SOURCES, SPLITS, Pool, load_pool
from mia_core.data.ordered_units import Units
from mia_core.hashing import array_digest
from tests.mia_core.split_cases import LOGAN, PANEL, REPLICATES, SIZES, build, same


def parts(split):
    named = ("reference", "unseen", "known_members", "known_non_members", "panel", "extra_non_members")
    return {name: getattr(split, name) for name in named if hasattr(split, name)}


both = pytest.mark.parametrize("name", ["panel", "logan"])


@both
def test_parts_have_their_sizes_and_are_disjoint(plain, name):
    split = build(name, plain)
    sizes = {"known_members": 15, "known_non_members": 15, **(PANEL if name == "panel" else LOGAN)}
    for part, records in parts(split).items():
        assert len(records) == sizes[part]
    everything = np.concatenate(list(parts(split).values()))
    assert len(set(everything)) == len(everything)


@both
def test_queries_are_the_same_for_every_size_and_replicate(plain, name):
    split = build(name, plain)
    cells = [split.membership(replicate, size) for replicate in REPLICATES for size in SIZES]
    assert all(np.array_equal(cell.queries, cells[0].queries) for cell in cells)
    assert np.array_equal(np.unique(cells[0].queries), cells[0].queries)
    if name == "panel":
        assert set(cells[0].queries) == {*split.panel, *split.extra_non_members}


@both
def test_judged_are_the_queries_whose_membership_is_drawn(plain, name):
    split = build(name, plain)
    judged = split.judges(split.membership(0, 50).queries)
    drawn = np.stack([split.membership(replicate, 50).member for replicate in range(100)])
    # A judged record that is on one side in all of 100 replicates: the rarer side has 35 of 485 records in logan.
    assert not drawn[:, ~judged].any()
    assert (drawn[:, judged].any(0) & ~drawn[:, judged].all(0)).mean() > 0.99
    assert judged.sum() == (60 if name == "panel" else len(judged))


@both
def test_member_means_trained_on(plain, grouped, name):
    for pool in (plain, grouped):
        for replicate in REPLICATES:
            cell = build(name, pool).membership(replicate, 80)
            assert np.array_equal(cell.member, [query in set(cell.train) for query in cell.queries])
            assert 0 < cell.member.sum() < len(cell.queries)
            assert len(set(cell.train)) == len(cell.train)


@both
def test_training_sets_have_their_nominal_size_where_every_record_is_its_own_unit(plain, name):
    split = build(name, plain)
    for replicate in range(20):
        for size in SIZES[1:]:
            assert len(split.membership(replicate, size).train) == size


@both
def test_a_further_train_size_changes_no_query_and_no_membership(plain, name):
    few, more = build(name, plain, (50, 120)), build(name, plain, (200, 50, 120, 46))
    assert few.queries_digest == more.queries_digest
    for part, records in parts(few).items():
        assert np.array_equal(records, parts(more)[part])
    for replicate in REPLICATES:
        for size in (50, 120):
            assert same(few.membership(replicate, size), more.membership(replicate, size))


def test_a_panel_records_membership_is_the_same_at_every_size(plain):
    split = build("panel", plain)
    for replicate in REPLICATES:
        small, middle, large = (split.membership(replicate, size).member for size in SIZES)
        assert np.array_equal(small, middle)
        assert np.array_equal(small, large)


@both
@pytest.mark.parametrize("kind", ["plain", "grouped"])
def test_training_sets_are_nested_over_sizes_within_a_replicate(request, name, kind):
    split = build(name, request.getfixturevalue(kind))
    for replicate in range(10):
        trains = [set(split.membership(replicate, size).train) for size in (50, 55, 60, 80, 81, 120)]
        assert all(smaller <= larger for smaller, larger in pairwise(trains))


@both
def test_known_members_are_always_trained_on_and_known_non_members_never(plain, grouped, name):
    for pool in (plain, grouped):
        split = build(name, pool)
        for replicate in REPLICATES:
            cell = split.membership(replicate, 50)
            assert set(split.known_members) <= set(cell.train)
            assert not set(split.known_non_members) & set(cell.train)


@both
def test_records_kept_aside_are_never_trained_on_nor_queried(plain, grouped, name):
    for pool in (plain, grouped):
        split = build(name, pool)
        for replicate in REPLICATES:
            cell = split.membership(replicate, 120)
            aside = {*split.reference, *split.unseen}
            assert not aside & set(cell.train)
            assert not aside & set(cell.queries)
            assert not set(parts(split).get("extra_non_members", [])) & set(cell.train)


@both
def test_known_shares_of_10_20_and_30_percent_of_the_smallest_training_set_are_nested(plain, name):
    split = build(name, plain, SIZES[::-1])
    for kind, records in enumerate((split.known_members, split.known_non_members)):
        at = [split.known(percent)[kind] for percent in (10, 20, 30)]
        assert [len(part) for part in at] == [5, 10, 15]
        assert set(at[0]) < set(at[1]) < set(at[2]) == set(records)


@both
@pytest.mark.parametrize(("size", "counts"), [(125, [13, 25, 38]), (104, [10, 21, 31]), (55, [6, 11, 17])])
def test_a_known_percentage_is_that_percentage_whatever_the_split_has(plain, name, size, counts):
    # 12.5 and 37.5 of 125, 5.5 and 16.5 of 55: halves are rounded up.
    for known in (counts[-1], 40):
        split = build(name, plain, (size, 200), known=known, **({"panel": 20} if name == "panel" else {}))
        for records, other in (split.known(percent) for percent in (0, 10, 20, 30)):
            assert len(records) == len(other)
        assert [len(split.known(percent)[0]) for percent in (0, 10, 20, 30)] == [0, *counts]


@both
def test_a_percentage_of_more_records_than_are_known_is_refused_with_the_number(plain, make_pool, name):
    changes = {"panel": 20} if name == "panel" else {}
    with pytest.raises(ValueError, match=r"30 % of .* 125 are 38 .* split.known is 37; raise it to 38$"):
        build(name, plain, (125, 200), known=37, **changes).known(30)
    pairs = dataclasses.replace(make_pool(600), groups=np.arange(600) // 2)
    short = build(name, pairs, (125, 200), known=37, **changes)
    assert len(short.known_members) == 36
    with pytest.raises(
        ValueError, match=r"split.known is 37, of which whole groups and duplicates leave 36; raise it to 39$"
    ):
        short.known(30)
    assert len(build(name, pairs, (125, 200), known=39, **changes).known(30)[0]) == 38


@both
def test_a_split_is_a_function_of_pool_settings_and_seed(plain, make_pool, name):
    split = build(name, plain)
    again, other = build(name, plain), build(name, plain, seed=2)
    assert same(split.membership(3, 80), again.membership(3, 80))
    assert not np.array_equal(split.reference, other.reference)
    assert not np.array_equal(split.reference, build(name, make_pool(600, seed=9)).reference)
    assert not np.array_equal(split.membership(3, 80).train, split.membership(4, 80).train)


def test_reference_depends_on_data_and_seed_only(plain):
    split = build("panel", plain)
    other = build("panel", plain, (100,), unseen=10, panel=20, extra_non_members=3, known=0)
    assert np.array_equal(split.reference, other.reference)
    assert np.array_equal(split.reference, build("logan", plain).reference)


def test_coins_are_fair_and_independent(plain, p_value):
    # Each of the five checks errs once in 1e6 seeds.
    split = build("panel", plain)
    replicates, count = 1500, 60
    panel = np.isin(split.membership(0, 50).queries, split.panel)
    coins = np.stack([split.membership(replicate, 50).member[panel] for replicate in range(replicates)])
    assert coins.shape == (replicates, count)
    assert p_value(coins.sum(), binom(coins.size, 0.5)) > 1e-6
    signs = 2.0 * coins - 1
    per_record = signs.sum(0) ** 2 / replicates
    assert p_value(per_record.sum(), chi2(count)) > 1e-6
    between_records = np.array([signs[:, i] @ signs[:, j] for i, j in combinations(range(count), 2)])
    assert p_value((between_records**2 / replicates).sum(), chi2(len(between_records))) > 1e-6
    repeats = (coins[1:] == coins[:-1]).sum()
    assert p_value(repeats, binom(coins[1:].size, 0.5)) > 1e-6
    # An exactly balanced design would leak labels: the number of members must vary like a binomial.
    balance = (signs.sum(1) ** 2 / count).sum()
    assert p_value(balance, chi2(replicates)) > 1e-6


def test_filler_is_drawn_fairly(plain, p_value):
    # Every filler candidate is trained on equally often; errs once in 1e6 seeds.
    split = build("panel", plain)
    taken = np.concatenate(list(parts(split).values()))
    candidates = np.setdiff1d(np.arange(600), taken)
    counts, expected, variance = np.zeros(600), 0.0, 0.0
    for replicate in range(300):
        filler = np.setdiff1d(split.membership(replicate, 120).train, taken)
        counts[filler] += 1
        share = len(filler) / len(candidates)
        expected += share
        variance += share * (1 - share)
    freedom = len(candidates) - 1
    spread = ((counts[candidates] - expected) ** 2).sum() / variance * freedom / len(candidates)
    assert p_value(spread, chi2(freedom)) > 1e-6


@given(
    name=st.sampled_from(["panel", "logan"]),
    seed=st.integers(0, 99),
    units=st.sampled_from([(1, 0.0), (1, 0.2), (6, 0.0), (6, 0.02), (3, 0.05)]),
)
def test_no_group_and_no_duplicate_straddles_the_line_or_two_parts(make_pool, name, seed, units):
    pool = make_pool(1200, seed, *units)
    split = build(name, pool, (500,), seed=seed)
    place = np.zeros(len(pool), dtype=int)
    for number, records in enumerate(parts(split).values(), start=1):
        assert (place[records] == 0).all()
        place[records] = number
    cell = split.membership(0, 500)
    trained, queried = (np.isin(np.arange(len(pool)), records) for records in (cell.train, cell.queries))
    sides = defaultdict(set)
    for record in range(len(pool)):
        side = (place[record], trained[record], queried[record])
        sides["group", pool.groups[record]].add(side)
        sides["content", pool.images[record].tobytes()].add(side)
    assert all(len(side) == 1 for side in sides.values())


@given(seed=st.integers(0, 99), largest_group=st.integers(1, 6))
def test_parts_of_whole_groups_fall_short_of_their_size_by_less_than_a_group(make_pool, seed, largest_group):
    split = build("panel", make_pool(600, seed, largest_group), seed=seed)
    for part, records in parts(split).items():
        size = PANEL.get(part, 15)
        assert size - largest_group < len(records) <= size


@given(name=st.sampled_from(["panel", "logan"]), seed=st.integers(0, 99), largest_group=st.integers(1, 6))
def test_training_sets_of_whole_groups_fall_short_by_less_than_a_group(make_pool, name, seed, largest_group):
    split = build(name, make_pool(600, seed, largest_group), (60, 120), seed=seed)
    for size in (80, 120):
        assert size - largest_group < len(split.membership(seed, size).train) <= size


def test_logan_has_exactly_n_members_and_queries_all_other_records(plain):
    split = build("logan", plain, known=0)
    for replicate in REPLICATES:
        for size in SIZES:
            cell = split.membership(replicate, size)
            assert cell.member.sum() == len(cell.train) == size
            assert set(cell.queries) == set(range(600)) - {*split.reference, *split.unseen}


def test_logan_trains_on_n_records_of_which_the_known_ones_are_not_judged(plain):
    split = build("logan", plain)
    cell = split.membership(0, 80)
    assert len(cell.train) == 80
    assert cell.member.sum() == 80 - 15
    assert set(range(600)) - set(cell.queries) == set(
        np.concatenate([split.reference, split.unseen, split.known_members, split.known_non_members])
    )


def test_logan_members_are_drawn_fairly(plain, p_value):
    # Errs once in 1e6 seeds. Drawing 80 of 500 without replacement: variance 80/500 * 420/500 a record and replicate.
    split = build("logan", plain, known=0)
    counts = sum(split.membership(replicate, 80).member.astype(float) for replicate in range(300))
    spread = ((counts - 300 * 0.16) ** 2).sum() / (300 * 0.16 * 0.84) * 499 / 500
    assert p_value(spread, chi2(499)) > 1e-6


@both
@pytest.mark.parametrize("kind", ["plain", "grouped"])
def test_a_null_target_trains_on_no_query_and_is_judged_by_the_same_labels(request, name, kind):
    split = build(name, request.getfixturevalue(kind))
    units = split.pool.units
    for replicate in REPLICATES:
        for size in SIZES:
            null, cell = split.null(replicate, size), split.membership(replicate, size)
            assert not set(units[null.train]) & set(units[null.queries])
            assert size - np.bincount(units).max() < len(null.train) == len(set(null.train)) <= size
            assert set(split.known_members) <= set(null.train)
            aside = [*split.reference, *split.unseen, *split.known_non_members]
            assert not set(aside) & {*null.train, *null.queries}
            asked = np.isin(cell.queries, null.queries)
            assert np.array_equal(cell.queries[asked], null.queries)
            assert np.array_equal(cell.member[asked], null.member)
            assert null.member.sum() == cell.member.sum()
            assert split.null_refusal(size) is None


def test_a_null_training_set_has_nothing_to_do_with_the_coins(plain):
    # It is the same for every outcome of the coins, which are redrawn here without touching anything else.
    split, again = build("panel", plain), build("panel", plain)
    drawn = again.streams.numpy
    again.streams.numpy = lambda purpose, *counter: drawn(purpose, *((99, *counter) if purpose == "coins" else counter))
    assert not np.array_equal(split.membership(0, 80).member, again.membership(0, 80).member)
    assert np.array_equal(split.null(0, 80).train, again.null(0, 80).train)


def test_a_pool_too_small_for_a_null_target_is_said(plain):
    panel, logan = build("panel", plain, (50, 381)), build("logan", plain, (50, 200))
    have = 600 - 60 - 40 - 60 - 50 - 15
    assert panel.null_refusal(have) is None
    assert len(panel.null(0, have).train) == have
    assert f"{have + 1} records to train on that are no query, and toy has {have}" in panel.null_refusal(have + 1)
    queries = 600 - 60 - 40 - 30
    assert logan.null_refusal(queries // 3 + 15) is None
    assert (~logan.null(0, queries // 3 + 15).member).sum() >= queries // 3
    assert "570 records for members, a null training set and non-members" in logan.null_refusal(205)


@pytest.mark.parametrize(
    ("name", "sizes", "changes", "message"),
    [
        ("panel", (50,), {"reference": 500}, "toy has 600 records, and reference 500 .* = [67]..; make some"),
        ("panel", (50, 500), {}, r"toy has 600 records, and reference 60 .*panel 60 .*filler 479 = 719; make"),
        ("panel", (50,), {"panel": 80}, "0.5 x 80 records and 15 known members .*train_size 50; at most 70"),
        ("panel", (44,), {}, "0.5 x 60 records and 15 known members .*train_size 44; at most 58"),
        ("panel", (50,), {"probability": 0.6}, "0.6 x 60 records and 15 known members .*train_size 50; at most 58"),
        ("panel", (30,), {"panel": 180, "probability": 0.09}, "0.09 x 180 records .*train_size 30; at most 166"),
        ("logan", (50, 500), {}, "toy has 600 records, and reference 60 .*train_size 500 .* = 616; make some"),
    ],
)
def test_sizes_too_large_are_refused_with_the_sizes(plain, name, sizes, changes, message):
    with pytest.raises(ValueError, match=message):
        build(name, plain, sizes, **changes)


def test_a_replicate_with_members_only_or_non_members_only_among_its_queries_is_refused(plain):
    build("panel", plain, (50,)).check_sizes(20, (50,))
    with pytest.raises(ValueError, match=r"[02] of 2 judged queries are members of train_size 50 in replicate"):
        build("panel", plain, (50,), panel=2, extra_non_members=0).check_sizes(20, (50,))


def test_the_largest_sizes_that_pass_the_check_are_reached_in_every_replicate(plain):
    split = build("panel", plain, (50, 381))
    assert all(len(split.membership(replicate, 381).train) == 381 for replicate in range(200))
    with pytest.raises(ValueError, match="= 601; make"):
        build("panel", plain, (50, 382))
    logan = build("logan", plain, (484,))
    assert (~logan.membership(0, 484).member).sum() == 1
    with pytest.raises(ValueError, match="= 601; make"):
        build("logan", plain, (485,))


GOLDEN = {
    "panel": "feed90361b30fd29aa18748054bb42b2cb14a587667e34b3a4af672886cf10f8",
    "logan": "a4d6fd99a6091b64eaad0fb7faf28b0a6f6d6d23c6b6c0cd985ab8968c9c7a8b",
}


@both
@pytest.mark.parametrize("groups", ["keep", "ignore"])
def test_splits_of_records_without_groups_have_the_same_bytes_on_every_day(name, groups):
    sizes = {"reference": 300, "unseen": 200, "known": 25, "groups": groups}
    if name == "panel":
        sizes |= {"panel": 150, "extra_non_members": 300}
    pool = load_pool(SOURCES.choose({"name": "digits", "size": 16}))
    split = SPLITS.choose({"name": name, **sizes}).build(pool, (100, 400), 2019)
    cells = [split.membership(replicate, size) for replicate in (0, 1, 7) for size in (100, 400)]
    arrays = [array for cell in cells for array in (cell.train, cell.queries, cell.member)]
    assert array_digest(*parts(split).values(), *arrays) == GOLDEN[name]


def units_of(sizes):
    sizes = np.array(sizes, dtype=np.int64)
    return Units(np.random.default_rng(0).permutation(sizes.sum()), sizes)


def as_lists(units):
    return [part.tolist() for part in np.split(units.records, np.cumsum(units.sizes)[:-1])]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_picking_units_is_picking_lists(sizes, random):
    units = units_of(sizes)
    lists = as_lists(units)
    order = random.sample(range(len(sizes)), random.randint(1, len(sizes)))
    assert as_lists(units.pick(np.array(order))) == [lists[i] for i in order]
    mask = np.isin(np.arange(len(sizes)), order)
    assert as_lists(units.pick(mask)) == [lists[i] for i in sorted(order)]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=60), st.integers(0, 200))
def test_a_unit_waits_until_it_is_a_tenth_unless_only_larger_ones_are_left(sizes, start):
    units = units_of(sizes)
    order = as_lists(units.small_first(start))
    assert sorted(order) == sorted(as_lists(units))
    total = start
    for position, unit in enumerate(order):
        left = [len(other) for other in order[position:]]
        assert len(unit) <= max(1, (total + len(unit)) / 10) or len(unit) == min(left)
        total += len(unit)


def test_single_records_keep_their_order():
    assert np.array_equal(units_of([1] * 50).small_first(0).records, units_of([1] * 50).records)


def test_units_keep_their_order_where_even_the_largest_adds_no_more_than_a_tenth():
    assert units_of([3, 1, 2]).small_first(27).sizes.tolist() == [3, 1, 2]
    assert units_of([3, 1, 2]).small_first(26).sizes.tolist() == [1, 3, 2]


@pytest.fixture(scope="module")
def faces_pool():
    """1,500 records: identities of 300, 200 and 100, twenty of 20, and 500 of one, as skewed as LFW's."""
    sizes = [300, 200, 100, *[20] * 20, *[1] * 500]
    count = sum(sizes)
    images = np.random.default_rng(0).integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)
    identities = np.random.default_rng(1).permutation(np.repeat(np.arange(len(sizes)), sizes))
    return Pool("faces", images, identities, identities)


FACES = {"reference": 100, "unseen": 50, "panel": 100, "extra_non_members": 50, "known": 15}


def test_large_identities_come_near_to_every_size_and_sizes_stay_nested(faces_pool):
    split = SPLITS.choose({"name": "panel", **FACES}).build(faces_pool, (80, 200, 400), 1)
    split.check_sizes(20, (80, 200, 400))
    for replicate in range(20):
        trains = [split.membership(replicate, size).train for size in (80, 100, 200, 300, 400)]
        for size, train in zip((80, 100, 200, 300, 400), trains, strict=True):
            assert 0.9 * size < len(train) <= max(size, 100)
        assert all(set(smaller) <= set(larger) for smaller, larger in pairwise(trains))


def test_no_identity_is_more_than_a_tenth_of_the_panel_and_its_coin_decides_for_all(faces_pool):
    split = SPLITS.choose({"name": "panel", **FACES}).build(faces_pool, (80,), 1)
    for records, size in ((split.panel, 100), (split.extra_non_members, 50)):
        assert np.bincount(faces_pool.groups[records]).max() <= size / 10
        assert len(records) == size


def test_sizes_that_whole_identities_cannot_make_are_refused(faces_pool):
    split = SPLITS.choose({"name": "panel", **FACES}).build(faces_pool, (80, 900), 1)
    message = (
        r"factors.train_size: whole groups .* make \d+ members of train_size 900 .*: \d+ groups; the largest has 300 of"
    )
    with pytest.raises(ValueError, match=message) as refused:
        split.check_sizes(5, (80, 900))
    assert "ignore" not in str(refused.value)
    ten = Pool("ten", *(getattr(faces_pool, name)[faces_pool.groups < 3] for name in ("images", "labels", "groups")))
    with pytest.raises(ValueError, match=r"split.panel: .* fill 0 of 100 records: 3 groups; the largest .*") as refused:
        SPLITS.choose({"name": "panel", "reference": 0, "unseen": 0, "panel": 100}).build(ten, (80,), 1)
    assert "ignore" not in str(refused.value)


def test_groups_that_do_not_fit_are_counted_and_nobody_is_told_to_part_them(make_images):
    two = Pool("two", make_images(60), np.zeros(60, dtype=np.int64), np.arange(60) // 40)
    for setting in ({}, {"near_duplicates": 4}):
        with pytest.raises(ValueError, match=r": 2 groups.*; the largest has 40 of 60 records\.") as refused:
            sizes = {"reference": 0, "unseen": 0, "panel": 20}
            SPLITS.choose({"name": "panel", **sizes, **setting}).build(two, (30,), 1)
        assert not set(str(refused.value).replace("=", " ").split()) & {"ignore", "null", "split.near_duplicates"}


def test_logan_refuses_identities_that_could_hardly_be_members(faces_pool):
    message = r"split: 300 records of one group .* a tenth of train_size 200: .*largest has 300 .* at least 3000"
    with pytest.raises(ValueError, match=message) as refused:
        SPLITS.choose({"name": "logan"}).build(faces_pool, (200, 500), 1)
    assert "ignore" not in str(refused.value)


@both
def test_by_record_every_size_is_exact_and_only_duplicates_stay_together(faces_pool, name):
    images = faces_pool.images.copy()
    copies = faces_pool.groups == 5
    images[copies] = images[np.flatnonzero(copies)[0]]
    pool = Pool("faces", images, faces_pool.labels, faces_pool.groups)
    settings = FACES if name == "panel" else {"reference": 100, "known": 15}
    split = SPLITS.choose({"name": name, "groups": "ignore", **settings}).build(pool, (200, 400), 1)
    split.check_sizes(10, (200, 400))
    trained = np.zeros(len(pool), dtype=bool)
    trained[split.membership(0, 400).train] = True
    assert 380 < trained.sum() <= 400
    assert trained[copies].all() or not trained[copies].any()
    straddling = [0 < trained[pool.groups == group].mean() < 1 for group in range(3)]
    assert straddling == [True, True, True]


def test_near_duplicates_are_one_unit_on_request(make_images):
    images = make_images(300, size=18)
    images[150:] = np.clip(images[:150].astype(int) + 2, 0, 255)
    pool = Pool("near", images, np.zeros(300, dtype=np.int64), np.arange(300))
    sizes = {"reference": 40, "panel": 60, "unseen": 20}
    apart = SPLITS.choose({"name": "panel", **sizes}).build(pool, (60,), 1)
    together = SPLITS.choose({"name": "panel", **sizes, "near_duplicates": 8}).build(pool, (60,), 1)
    for replicate in range(5):
        for split, expected in ((apart, False), (together, True)):
            trained = np.isin(np.arange(300), split.membership(replicate, 60).train)
            assert np.array_equal(trained[:150], trained[150:]) == expected


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"groups": "drop"}, "split.groups: .*'keep' or 'ignore'"),
        ({"near_duplicates": 33}, "less than or equal to 32"),
        ({"near_duplicates": True}, "valid integer"),
        ({"near_duplicate": 3}, "did you mean 'near_duplicates'"),
    ],
)
def test_wrong_settings_of_units_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        SPLITS.choose({"name": "logan", **setting}, "split")
