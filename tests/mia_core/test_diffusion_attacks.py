"""Attacks on diffusion models: their formulas in NumPy, and the AUCs that a denoiser in closed form gives them."""

import numpy as np
import pytest
import torch

from mia_core.access import view
from mia_core.attacks import ATTACKS, Knowledge
from mia_core.attacks.pfami import cropped
from mia_core.errors import Refused
from mia_core.meter import Meter, Spent
from mia_core.metrics.blind import aucs
from mia_core.streams import Streams
from tests.mia_core.kernel_denoiser import KernelDenoiser

MEMBERS, OTHERS = 100, 400
ABAR = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))


def records(seed):
    """x [Q,1,4,4] of N(0, I/4), as known answers have them: beyond [-1, 1], so attacks are run without the check."""
    return torch.randn(MEMBERS + OTHERS, 1, 4, 4, generator=Streams(seed).torch("records")) / 2


def scores_of(spec, model, x, seed=0, meter=None):
    attack = ATTACKS.choose(spec).build()
    found = attack.run(view(model, attack.uses, meter), x, Knowledge(), Streams(seed, "attack"))
    return found.values[0].double().numpy()


# Formulas


def eps_of(members, h):
    """The closed-form denoiser of flat arrays, written apart from the model's."""

    def eps(x, t):
        spread = ABAR[t] * h * h + 1 - ABAR[t]
        distance = ((x[:, None] - ABAR[t] ** 0.5 * members[None]) ** 2).sum(-1) / (2 * spread)
        weight = np.exp(distance.min(1, keepdims=True) - distance)
        mean = weight / weight.sum(1, keepdims=True) @ members
        return (1 - ABAR[t]) ** 0.5 / spread * (x - ABAR[t] ** 0.5 * mean)

    return eps


def moved(x, noise, t, to):
    """A DDIM step."""
    image = (x - (1 - ABAR[t]) ** 0.5 * noise) / ABAR[t] ** 0.5
    return ABAR[to] ** 0.5 * image + (1 - ABAR[to]) ** 0.5 * noise


def noises(count):
    drawn = [torch.randn(1, 1, 4, 4, generator=Streams(0, "attack").torch("noise", k)) for k in range(count)]
    return [noise.double().numpy().reshape(1, 16) for noise in drawn]


def noise_at(x, e, t):
    return ABAR[t] ** 0.5 * x + (1 - ABAR[t]) ** 0.5 * e


def diffusion_loss(eps, x):
    return -np.mean([((eps(noise_at(x, e, 100), 100) - e) ** 2).mean(1) for e in noises(10)], axis=0)


def secmi(eps, x):
    for t in range(0, 90, 10):
        x = moved(x, eps(x, t), t, t + 10)
    forth = moved(x, eps(x, 90), 90, 100)
    return -((x - moved(forth, eps(forth, 100), 100, 90)) ** 2).sum(1)


def pia(eps, x):
    e = eps(x, 0)
    return -((e - eps(noise_at(x, e, 200), 200)) ** 4).sum(1)


def pian(eps, x):
    e = eps(x, 0)
    e = e * (2 / np.pi) ** 0.5 / np.abs(e).mean(1, keepdims=True)
    return -((e - eps(noise_at(x, e, 200), 200)) ** 4).sum(1)


def sima(eps, x):
    return -(eps(x, 100) ** 4).sum(1)


def pfami(eps, x):
    growths = []
    for e, t in zip(noises(10), range(0, 500, 50), strict=True):
        own = ((eps(noise_at(x, e, t), t) - e) ** 2).mean(1)
        for part in (0.95, 0.825, 0.7):
            near = cropped(torch.from_numpy(x.reshape(-1, 1, 4, 4)), part).numpy().reshape(-1, 16)
            growths.append((((eps(noise_at(near, e, t), t) - e) ** 2).mean(1) - own) / own)
    return np.mean(growths, axis=0)


FORMULAS = {f.__name__: f for f in (diffusion_loss, secmi, pia, pian, sima, pfami)}


@pytest.mark.parametrize("name", FORMULAS)
def test_a_score_is_that_of_the_published_formula(name):
    x = records(1)[:130]
    flat = x.double().numpy().reshape(-1, 16)
    expected = FORMULAS[name](eps_of(flat[:MEMBERS], 0.6), flat)
    found = scores_of({"name": name}, KernelDenoiser(x[:MEMBERS], 0.6), x)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).mean())  # of float32


def test_rediffuse_is_minus_the_distance_to_the_mean_of_the_models_variations():
    x = records(1)[:30]
    model = KernelDenoiser(x[:20], 0.6)
    varied = torch.stack([model.variation(x, 200, Streams(0, "attack", "variation", k)) for k in range(10)])
    assert (varied[1:] - varied[0]).abs().amax((1, 2, 3, 4)).min() > 0.1, "each is of other noise"
    expected = -(x - varied.mean(0)).flatten(1).norm(dim=1)
    np.testing.assert_allclose(scores_of({"name": "rediffuse"}, model, x), expected, rtol=1e-5)


def test_a_neighbor_is_the_enlarged_middle_of_an_image():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    found = cropped(ramp, 0.75)[0, 0, 0]
    np.testing.assert_allclose(found, 1 + (np.arange(8) + 0.5).clip(2 / 3, 7.34) * 0.75 - 0.5, atol=1e-2)
    assert cropped(ramp, 0.99).shape == ramp.shape
    assert not torch.equal(cropped(ramp, 0.99), ramp)


# Known answers

EXPECTED = {
    0.05: {"diffusion_loss": 1.0, "secmi": 1.0, "pia": 1.0, "sima": 1.0, "rediffuse": 0.96},
    0.6: {"diffusion_loss": 1.0, "secmi": 1.0, "pia": 0.95, "sima": 1.0, "rediffuse": 0.75},
    1.0: {"diffusion_loss": 0.66, "secmi": 0.78, "pia": 0.66, "sima": 0.86, "rediffuse": 0.55},
}
"""AUCs by bandwidth, from a simulation of its own: means of six draws, each of a deviation of about .04."""


@pytest.fixture(scope="module")
def mean_auc():
    """AUCs on kernel denoisers, by bandwidth and attack: means of six draws."""
    member = np.arange(MEMBERS + OTHERS) < MEMBERS
    found = {}
    for bandwidth in EXPECTED:
        for name in (*FORMULAS, "rediffuse"):
            scores = [
                scores_of({"name": name}, KernelDenoiser(records(seed)[:MEMBERS], bandwidth), records(seed), seed)
                for seed in range(6)
            ]
            found[bandwidth, name] = aucs(np.stack(scores, 1), np.stack([member] * 6, 1)).mean()
    return found


@pytest.mark.long
@pytest.mark.parametrize(("bandwidth", "name"), [(h, name) for h in EXPECTED for name in EXPECTED[h]])
def test_a_kernel_denoiser_gives_each_attack_its_known_auc(mean_auc, bandwidth, name):
    # A difference of two means of six draws has the deviation .04 sqrt(2 / 6) = .023; the margin is four of those. An
    # AUC near 1 hardly varies.
    expected = EXPECTED[bandwidth][name]
    assert mean_auc[bandwidth, name] == pytest.approx(expected, abs=0.02 if expected == 1 else 0.092)


@pytest.mark.long
def test_a_model_that_only_memorizes_gives_members_away_to_neighbors_too(mean_auc):
    assert mean_auc[0.05, "pfami"] > 0.99
    assert mean_auc[0.05, "pfami"] > mean_auc[0.6, "pfami"] > mean_auc[1.0, "pfami"]


@pytest.mark.long
def test_pian_turns_around_on_smooth_models_and_pia_does_not(mean_auc):
    assert mean_auc[0.05, "pian"] > 0.99
    assert mean_auc[0.6, "pian"] < 0.2 < 0.9 < mean_auc[0.6, "pia"]


@pytest.mark.parametrize("name", [*FORMULAS, "rediffuse"])
def test_a_denoiser_of_other_records_gives_one_half(name):
    # Members are exchangeable with others here: the deviation of an AUC is sqrt((1/40 + 1/60) / 12) = .059 at most for
    # one draw, .017 for the mean of twelve; the margin is four of those.
    member = np.arange(100) < 40
    found = []
    for seed in range(12):
        x = records(seed)[:200]
        scores = scores_of({"name": name}, KernelDenoiser(x[100:], 0.3), x[:100], seed)
        found.append(aucs(scores[:, None], member[:, None]))
    assert np.mean(found) == pytest.approx(0.5, abs=0.068)


# Costs and refusals

COSTS = {"diffusion_loss": 10, "secmi": 11, "pia": 2, "pian": 2, "sima": 1, "pfami": 40, "rediffuse": 10}


@pytest.mark.parametrize("name", COSTS)
def test_what_an_attack_asks_of_the_model_is_counted_per_query(name):
    x = records(1)[:7]
    meter = Meter()
    scores_of({"name": name}, KernelDenoiser(x, 0.6), x, meter=meter)
    assert meter.spent == Spent(queries=7 * COSTS[name])


@pytest.mark.parametrize("name", [*FORMULAS, "rediffuse"])
def test_a_time_that_the_model_does_not_have_is_refused(name):
    x = records(1)[:7].clamp(-1, 1)
    late, last = ({"times": [0, t]} if name == "pfami" else {"time": t} for t in (1000, 990))
    attack = ATTACKS.choose({"name": name, **late}).build()
    with pytest.raises(Refused, match="a kernel denoiser has times below its 1000 timesteps, and 1000 is none; set an"):
        attack(KernelDenoiser(x, 0.6), x, Knowledge(), Streams(0))
    assert ATTACKS.choose({"name": name, **last}).build().unfit(KernelDenoiser(x, 0.6).facts) is None


@pytest.mark.parametrize("time", [0, 95])
def test_a_time_of_secmi_that_its_steps_do_not_meet_is_refused(time):
    with pytest.raises(Refused, match=f"time must be a multiple of interval 10, got {time}"):
        ATTACKS.choose({"name": "secmi", "time": time})


@pytest.mark.parametrize("name", ["diffusion_loss", "secmi", "pia", "pian", "sima", "pfami", "rediffuse"])
def test_times_brought_to_another_number_of_timesteps_are_times_of_such_a_model(name):
    settings = {"time": 999} if name in ("diffusion_loss", "pia", "pian", "sima") else {}
    attack = ATTACKS.choose({"name": name, **settings}).build()
    for timesteps in (2, 7, 30, 100, 250, 999):
        brought = ATTACKS.choose({"name": name, **attack.of_timesteps(timesteps)}).build()
        assert 0 <= min(brought.times) <= max(brought.times) < timesteps
