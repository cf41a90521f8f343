import numpy as np
import pytest
from scipy.stats import ttest_1samp

from study.plan import power


@pytest.mark.parametrize(("sd", "replicates"), [(0.03, 5), (0.05, 12), (0.02, 3)])
def test_the_smallest_effect_is_found_four_times_in_five(sd, replicates):
    effect = power.smallest_effect(sd, replicates)
    differences = np.random.default_rng(0).normal(effect, sd, (20_000, replicates))
    found = ttest_1samp(differences, 0, axis=1).pvalue < power.ALPHA
    assert found.mean() == pytest.approx(power.POWER, abs=0.01)


def test_many_contrasts_settle_less_and_more_replicates_settle_more():
    assert power.smallest_effect(0.03, 5, contrasts=6) > power.smallest_effect(0.03, 5) > power.smallest_effect(0.03, 9)
    assert power.smallest_effect(0.03, 1) is None
    assert power.smallest_effect(0.0, 5) == 0.0


@pytest.mark.parametrize(("sd", "contrasts"), [(0.023, 1), (0.033, 1), (0.05, 6)])
def test_the_fewest_replicates_settle_an_effect_and_one_fewer_do_not(sd, contrasts):
    fewest = power.replicates_for(0.02, sd, contrasts)
    assert power.smallest_effect(sd, fewest, contrasts) <= 0.02 < power.smallest_effect(sd, fewest - 1, contrasts)


def test_replicates_are_between_two_and_the_most():
    assert power.replicates_for(1.0, 1e-6) == 2
    assert power.replicates_for(1e-9, 1.0) == power.MOST


def plain_sd(auc):
    """RMS over all pairs of cells of the SD of their paired differences."""
    cells = len(auc)
    squares = [np.var(auc[a] - auc[b], ddof=1) for a in range(cells) for b in range(a)]
    return np.mean(squares) ** 0.5


def test_the_sd_of_paired_differences_is_pooled_over_all_pairs_of_cells():
    random = np.random.default_rng(1)
    auc = random.normal(0.6, 0.1, (6, 1)) + random.normal(0, 0.2, (1, 4)) + random.normal(0, 0.03, (6, 4))
    assert power.paired_sd(auc) == pytest.approx(plain_sd(auc))
    gap = np.column_stack([auc, [0.5, np.nan, 0.5, 0.5, 0.5, 0.5]])
    assert power.paired_sd(gap) == pytest.approx(plain_sd(auc))
    assert power.paired_sd(auc[:, :2]) is None
    assert power.paired_sd(auc[:1]) is None


def test_a_studys_own_sd_is_of_its_own_cells_and_the_attack_that_audits(make_design):
    design = make_design("replicates=4")
    random = np.random.default_rng(2)
    auc = {(trial.trial_id, w.attack_id): random.normal() for trial in design.trials for w in trial.attacks}
    cells = len(design.cells) * 2
    own = np.array([auc[trial.trial_id, trial.attacks[0].attack_id] for trial in design.trials])
    assert design.trials[0].attacks[0].label == design.spec.audit.attack
    assert power.own_sd(design, auc) == pytest.approx(plain_sd(own.reshape(4, cells).T))
    assert power.own_sd(design, {}) is None
    assert power.family(design) == 1 + 1 + 2
