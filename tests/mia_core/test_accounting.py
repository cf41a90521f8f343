import math

import numpy as np
import pytest
from scipy.fft import irfft, rfft
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr

from mia_core import vision  # noqa: F401  before opacus, which reaches torchvision
from mia_core.defenses import accounting
from mia_core.defenses.accounting import SIGMAS, Accountant, epsilon, guarantee, noise_multiplier, profile
from mia_core.defenses.dp_sgd import LEAST_NOISE, MOST_NOISE

ERROR = accounting.EPSILON_ERROR
MANY = ((0.5, 10), (1.0, 100), (5.0, 1000), (100.0, 20_000))


def of(sigma, rate, steps, delta):
    """epsilon of steps that are all alike."""
    return epsilon(((sigma, rate, steps),), delta)


def gaussian(sigma, steps, delta):
    """Exact epsilon without sampling: a Gaussian mechanism of mu = sqrt(steps) / sigma (Balle & Wang 2018, thm 8)."""
    mu = math.sqrt(steps) / sigma

    def excess(eps):
        return ndtr(mu / 2 - eps / mu) - math.exp(eps + log_ndtr(-mu / 2 - eps / mu)) - delta

    return brentq(excess, 0, mu**2 / 2 + 40 * mu) if excess(0) > 0 else 0.0


def rounded(sigma, rate, steps, delta, largest, up, points=2**19):
    """Bound on epsilon from losses log((1-q) + q N(1)/N(0)) of a removed record, rounded up or down on a grid."""
    edges = np.arange(-points // 2, points // 2 + 1) * (2 * largest / points)
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.where(edges > np.log1p(-rate), sigma**2 * np.log((np.expm1(edges) + rate) / rate) + 0.5, -np.inf)
    above = (1 - rate) * ndtr(-x / sigma) + rate * ndtr((1 - x) / sigma)
    mass = -np.diff(above)
    losses = np.concatenate([[0.0], mass[:-1]]) if up else mass
    infinite = above[-1] + mass[-1] if up else 0.0
    composed = np.roll(irfft(rfft(np.roll(losses, -points // 2)) ** steps, points), points // 2)
    t, p = edges[points // 2 : -1], composed[points // 2 :].clip(0)
    deltas = p[::-1].cumsum()[::-1] - np.exp(t) * (p * np.exp(-t))[::-1].cumsum()[::-1] + steps * infinite
    return float(t[np.flatnonzero(deltas <= delta)[0]])


@pytest.mark.parametrize(
    ("sigma", "rate", "steps", "delta"), [(1.0, 0.25, 40, 1e-5), (4.0, 1 / 13, 1000, 1e-5), (0.7, 1.0, 5, 1e-3)]
)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
def test_epsilon_is_opacus_prv_accountants_and_close_below_renyis(sigma, rate, steps, delta):
    from opacus.accountants import PRVAccountant, RDPAccountant

    prv, rdp = PRVAccountant(), RDPAccountant()
    for _ in range(steps):
        prv.step(noise_multiplier=sigma, sample_rate=rate)
        rdp.step(noise_multiplier=sigma, sample_rate=rate)
    value = of(sigma, rate, steps, delta)
    assert value == prv.get_epsilon(delta)
    assert 0.8 * rdp.get_epsilon(delta) < value <= rdp.get_epsilon(delta)


@pytest.mark.parametrize(
    ("sigma", "steps", "delta"),
    [
        *((sigma, steps, delta) for sigma, steps in ((0.3, 1), (1.0, 1)) for delta in (1e-2, 1e-5, 1e-8)),
        *((sigma, steps, 1e-5) for sigma, steps in MANY),
        *(pytest.param(*two, delta, marks=pytest.mark.slow) for two in MANY for delta in (1e-2, 1e-8)),
    ],
)
def test_without_sampling_epsilon_is_the_exact_one_and_at_most_twice_prvs_error_more(sigma, steps, delta):
    exact = gaussian(sigma, steps, delta)
    assert exact <= of(sigma, 1.0, steps, delta) <= exact + 2 * ERROR


@pytest.mark.parametrize(
    ("sigma", "rate", "steps", "delta"),
    [
        (0.5, 0.001, 200, 1e-5),
        (0.7, 0.1, 10, 1e-7),
        (1.0, 0.25, 40, 1e-5),
        (2.0, 0.01, 500, 1e-5),
        (5.0, 0.5, 100, 1e-2),
        (100.0, 0.001, 500, 1e-7),
        (1.0, 1.0, 10, 1e-5),
    ],
)
def test_epsilon_lies_where_losses_rounded_up_and_down_allow(sigma, rate, steps, delta):
    value = of(sigma, rate, steps, delta)
    largest = 2 * value + 4
    low, high = (rounded(sigma, rate, steps, delta, largest, up) for up in (False, True))
    assert high - low <= steps * 2 * largest / 2**19 + 1e-9
    assert low <= value <= high + 2 * ERROR


@pytest.mark.slow
@pytest.mark.parametrize("delta", [1e-2, 1e-5, 1e-8, 1e-12])
@pytest.mark.parametrize("rate", [0.001, 0.25, 1.0])
@pytest.mark.parametrize(("sigma", "steps"), [(0.01, 1), (0.3, 20_000), (1e4, 1)])
def test_extreme_arguments_give_a_finite_epsilon_not_above_renyis(sigma, rate, steps, delta):
    history = ((sigma, rate, steps),)
    value = epsilon(history, delta)
    assert 0 <= value <= max(0.0, accounting._renyi(history, [delta])[0])
    if rate == 1:
        assert value >= gaussian(sigma, steps, delta)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, 1e9])
def test_a_prv_value_that_is_not_finite_or_above_renyis_is_never_reported(monkeypatch, wrong):
    from opacus.accountants.analysis.prv.prvs import DiscretePRV

    monkeypatch.setattr(accounting, "ANSWERS", {})
    monkeypatch.setattr(DiscretePRV, "compute_epsilon", lambda *arguments: (0.0, 0.0, wrong))
    history = ((1.0, 0.1, 50),)
    assert epsilon(history, 1e-5) == accounting._renyi(history, [1e-5])[0]


@pytest.mark.parametrize("damage", [None, b"", b'{"answer": [0.1], "check": "0"}'])
def test_an_answer_is_computed_once_for_all_processes_unless_what_is_kept_is_damaged(
    monkeypatch, cache_of_test, damage
):
    history = ((1.0, 0.1, 51),)
    monkeypatch.setattr(accounting, "ANSWERS", {})
    first = epsilon(history, 1e-5)
    (kept,) = (cache_of_test / "accounting").iterdir()
    assert [oct(path.stat().st_mode & 0o777) for path in (kept.parent, kept)] == ["0o700", "0o600"]
    if damage is not None:
        kept.write_bytes(damage)
    monkeypatch.setattr(accounting, "ANSWERS", {})  # as in another process
    calls, prv = [], accounting._prv
    monkeypatch.setattr(accounting, "_prv", lambda *arguments: calls.append(1) or prv(*arguments))
    assert epsilon(history, 1e-5) == first
    assert len(calls) == (damage is not None)


def test_a_cache_that_cannot_be_written_costs_time_only(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MIA_STUDY_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(accounting, "ANSWERS", {})
    assert epsilon(((1.0, 0.1, 52),), 1e-5) > 0


def test_epsilon_is_none_without_noise_and_zero_before_the_first_step():
    assert of(0.0, 0.1, 100, 1e-5) is None
    assert epsilon(((1.0, 0.1, 5), (0.0, 0.1, 1)), 1e-5) is None
    assert of(1.0, 0.1, 0, 1e-5) == epsilon((), 1e-5) == 0.0


def test_epsilon_grows_with_steps_and_rate_and_falls_with_sigma_and_delta():
    base = of(1.0, 0.1, 50, 1e-5)
    assert of(1.0, 0.1, 100, 1e-5) > base
    assert of(1.0, 0.2, 50, 1e-5) > base
    assert of(2.0, 0.1, 50, 1e-5) < base
    assert of(1.0, 0.1, 50, 1e-3) < base


def test_a_history_of_several_entries_costs_what_its_steps_cost_together():
    whole = of(1.0, 0.1, 100, 1e-5)
    assert epsilon(((1.0, 0.1, 60), (1.0, 0.1, 40)), 1e-5) == pytest.approx(whole, abs=2 * ERROR)
    assert of(1.0, 0.1, 60, 1e-5) < epsilon(((1.0, 0.1, 60), (3.0, 0.1, 40)), 1e-5) < whole


def test_a_profile_is_epsilon_at_each_delta():
    deltas = (1e-2, 1e-5, 1e-7)
    found = profile(((1.0, 0.1, 100),), deltas)
    assert found == pytest.approx([of(1.0, 0.1, 100, delta) for delta in deltas], abs=ERROR)
    assert list(found) == sorted(found)
    assert profile(((0.0, 0.1, 100),), deltas) == (None,) * 3


def test_nothing_is_computed_twice(monkeypatch):
    value = of(1.0, 0.1, 51, 1e-5), noise_multiplier(1.0, 1e-6, 1.0, 1)
    monkeypatch.setattr(accounting, "_renyi", lambda *arguments: pytest.fail("computed again"))
    assert (of(1.0, 0.1, 51, 1e-5), noise_multiplier(1.0, 1e-6, 1.0, 1)) == value


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "delta", "rate", "steps"),
    [(8.0, 1e-5, 0.25, 40), (2.0, 1e-5, 0.25, 40), (0.1, 1e-5, 0.25, 40), (1.0, 1e-6, 1.0, 1), (60.0, 1e-5, 0.5, 20)],
)
def test_the_noise_for_a_target_reaches_it_closely_from_below_and_less_noise_does_not(target, delta, rate, steps):
    sigma = noise_multiplier(target, delta, rate, steps)
    assert 0.995 * target <= of(sigma, rate, steps, delta) <= target
    assert of(sigma * 0.999, rate, steps, delta) > target
    assert float(f"{sigma:.4g}") == sigma


@pytest.mark.parametrize(
    ("target", "message"),
    [(1e-3, f"needs a sigma above {SIGMAS[1]:g}; raise it"), (1e5, "needs a sigma below 0.1; lower it")],
)
def test_a_target_that_no_noise_reaches_is_refused(target, message):
    with pytest.raises(ValueError, match=f"target_epsilon {target:g} at delta 1e-05 after 10 steps .*{message}"):
        noise_multiplier(target, 1e-5, 0.25, 10)


def test_an_accountant_goes_on_from_its_own_history_only():
    accountant = Accountant(1.0, 0.25)
    accountant.steps += 3
    other = Accountant(1.0, 0.25)
    other.restore(accountant.history)
    assert other.history == ((1.0, 0.25, 3),)
    for wrong in (Accountant(1.1, 0.25), Accountant(1.0, 0.2)):
        with pytest.raises(ValueError, match="does not belong to an arm of sigma"):
            wrong.restore(accountant.history)


def test_a_guarantee_in_words_names_delta_and_neighbors():
    assert guarantee(57.25, 1e-5) == "epsilon 57.2 per record at delta 1e-05, add-or-remove-one"
    assert guarantee(57.25, 1e-5, "person") == "epsilon 57.2 per person at delta 1e-05, add-or-remove-one"
    assert guarantee(None, None) == guarantee(math.nan, math.nan) == "none"


def test_the_least_and_the_most_noise_and_the_least_delta_give_a_finite_epsilon():
    for sigma in (LEAST_NOISE, MOST_NOISE):
        assert math.isfinite(of(sigma, 1.0, 10**9, 5e-324))
    assert of(1.0, 0.1, 100, 5e-324) > of(1.0, 0.1, 100, 1e-13) > of(1.0, 0.1, 100, 1e-5)
