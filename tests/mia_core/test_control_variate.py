from itertools import product

import numpy as np
import pytest
from scipy.stats import rankdata

from mia_core.metrics.control_variate import applies, base_scores, with_control_variate
from mia_core.metrics.influence import aucs
from mia_core.metrics.two_way import mean_auc
from tests.mia_core.coverage import RARE, mean_aucs_covered
from tests.mia_core.leaking_scores import Population


def study(replicates=4, records=9, seed=0):
    random = np.random.default_rng(seed)
    member = random.random((replicates, records)) < 0.5
    member[:, 0], member[:, 1] = True, False
    return (random.normal(size=records) + random.normal(size=member.shape) + 0.5 * member).round(1), member


def slow_base(scores, member):
    """Replicate by replicate, record by record."""
    replicates, records = scores.shape
    rank = np.array([rankdata(row) for row in scores]) / records
    base = np.empty(scores.shape)
    for r in range(replicates):
        others = [q for q in range(replicates) if q != r]
        shift = np.mean([rank[q][member[q]].mean() - rank[q][~member[q]].mean() for q in others])
        for i in range(records):
            base[r, i] = np.mean([rank[q, i] - member[q, i] * shift for q in others])
    return base.round(12)


@pytest.mark.parametrize("seed", range(4))
def test_base_scores_are_those_of_plain_sums(seed):
    scores, member = study(seed=seed)
    np.testing.assert_allclose(base_scores(scores, member), slow_base(scores, member), atol=1e-12)


def test_the_variate_has_expectation_zero_over_all_coins_of_its_replicate():
    # All 2^7 coins of replicate 0, record 0 in and record 1 out or the other way round: the base does not move.
    scores, member = study()
    base, found, count = base_scores(scores, member)[0], 0.0, 0
    for coins in product([False, True], repeat=8):
        other = np.array([not coins[0], *coins])
        changed = member.copy()
        changed[0] = other
        np.testing.assert_allclose(base_scores(scores, changed)[0], base)
        found += aucs(base, other).auc - 0.5
        count += 1
    assert found / count == pytest.approx(0, abs=1e-12)


def test_values_and_influences_lose_beta_times_the_variates():
    scores, member = study(5, 20)
    cell, variate = aucs(scores, member), aucs(slow_base(scores, member), member)
    pairs = list(product(range(5), range(20)))
    beta = sum(cell.influence[p] * variate.influence[p] for p in pairs) / sum(variate.influence[p] ** 2 for p in pairs)
    found = with_control_variate(scores, member)
    np.testing.assert_allclose(found.auc, cell.auc - beta * (variate.auc - 0.5))
    np.testing.assert_allclose(found.influence, cell.influence - beta * variate.influence)


def test_no_record_is_easier_than_another_in_constant_scores_so_nothing_changes():
    _, member = study()
    found = with_control_variate(np.zeros(member.shape), member)
    assert (found.auc == 0.5).all() and not found.influence.any()


def test_batches_of_cells_have_each_cells_own_slope():
    studies = [study(seed=s) for s in range(3)]
    together = with_control_variate(*(np.stack(parts) for parts in zip(*studies, strict=True)))
    for i, (scores, member) in enumerate(studies):
        np.testing.assert_allclose(together.auc[i], with_control_variate(scores, member).auc)


def test_the_rule_knows_replicates_alone():
    assert [applies(replicates) for replicates in (1, 4, 5, 20)] == [False, False, True, True]
    with pytest.raises(ValueError, match="two replicates"):
        with_control_variate(np.arange(4.0)[None], np.array([[True, False, True, False]]))


def test_a_record_share_of_four_fifths_makes_intervals_a_quarter_shorter_and_they_cover():
    rows = {row.method: row for row in mean_aucs_covered(200, Population(0.8, unequal=0.8), RARE, (5,), (5,))}
    assert rows["with variate"].good(3.5), rows["with variate"]
    assert rows["with variate"].half_width < 0.75 * rows["two-way"].half_width


def test_without_difficulty_the_variate_costs_nothing():
    rows = {row.method: row for row in mean_aucs_covered(200, Population(0.0), (140, 0.5), (5,), (5,))}
    assert rows["with variate"].half_width == pytest.approx(rows["two-way"].half_width, rel=0.03)


def test_an_estimate_pushed_beyond_1_has_limits_inside():
    scores, member = study(5, 30)
    found = with_control_variate(scores + 100 * member, member)
    low, high = mean_auc(found).interval()
    assert 0.5 < low < high <= 1
