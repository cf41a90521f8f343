"""DP-SGD where a record has several losses: VAE-GAN's three networks, WGAN-GP's loss and penalty.

Targets that learn from records alone are in `test_private_records`.
"""

import copy
import math

import pytest
import torch
from torch.nn.functional import softplus

from mia_core import vision  # noqa: F401  before opacus, which reaches torchvision
from mia_core.data.pool import to_float
from mia_core.defenses import Arm, RandomLayer
from mia_core.defenses.clipping import clipped_sums
from mia_core.defenses.dp_sgd import PrivateGradients
from mia_core.secret_draws import SecretDraws
from mia_core.step_draws import STEP, Draws, normal
from mia_core.streams import Streams
from tests.mia_core.one_record_at_a_time import CLIP_ONLY, KEY, norm_of, oracle
from tests.mia_core.steps import batch_of, take_step

# Several networks learn from a record: VAE-GAN

NETWORKS = ("discriminator", "generator", "encoder")


def vae_gan_case(make_target, make_images, count, arm="none", weight=0.3, norm="group"):
    """A target in double precision, its three networks, a step's losses, and records with their posterior noise."""
    target = make_target("vae_gan", 16, norm=norm, reconstruction_weight=weight)
    Arm.parse(arm).modify(target)
    target = target.double().train()
    networks = {name: target.get_submodule(name) for name in NETWORKS}
    x = to_float(torch.from_numpy(make_images(count, 16))).double()
    noise = torch.randn(count, 8, generator=Streams(1).torch("noise"), dtype=torch.float64)
    return target, networks, target.real_losses, (x, noise)


def joint_oracle(networks, losses, records, clip):
    """One record at a time: each network's gradient of its own loss, clipped by the norm over all networks together."""
    sums = {name: [torch.zeros_like(p) for p in network.parameters()] for name, network in networks.items()}
    norms, values = [], []
    for i in range(len(records[0])):
        terms = losses(networks, *(part[i : i + 1] for part in records))
        gradients = {
            name: torch.autograd.grad(terms[name].sum(), list(network.parameters()), retain_graph=True)
            for name, network in networks.items()
        }
        norm = norm_of([g for parts in gradients.values() for g in parts])
        for name, parts in gradients.items():
            for total, gradient in zip(sums[name], parts, strict=True):
                total += gradient * min(1.0, clip / norm)
        norms.append(norm)
        values.append({name: float(value.detach()) for name, value in terms.items()})
    return sums, norms, values


def every(sums):
    return [part for name in sorted(sums) for part in sums[name]]


@pytest.mark.parametrize("arm", ["none", "weight_norm"])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_three_networks_are_clipped_together_as_one_record_at_a_time(make_target, make_images, arm, share):
    _, networks, losses, records = vae_gan_case(make_target, make_images, 5, arm)
    norms = sorted(joint_oracle(networks, losses, records, 1.0)[1])
    clip = {0.0: 0.5 * norms[0], 0.5: norms[2], 1.0: 2 * norms[-1]}[share]  # all, some, none are clipped
    expected, _, values = joint_oracle(networks, losses, records, clip)
    sums, found = clipped_sums(networks, losses, records, clip)
    assert sums.keys() == set(NETWORKS)
    for name in NETWORKS:
        for fast, slow in zip(sums[name], expected[name], strict=True):
            torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-11)
    for name in (*NETWORKS, "d_real"):
        assert found[name].tolist() == pytest.approx([value[name] for value in values])
    # Clipping each network alone would be another sum: the test can tell.
    alone = {name: oracle_of_one(networks, losses, records, name, clip) for name in NETWORKS}
    if share < 1:
        assert norm_of([a - b for a, b in zip(every(alone), every(sums), strict=True)]) > 0.1 * clip


def require_moved_by_at_most_clip(networks, losses, records):
    """Each of 5 records moves all sums together by its own norm, clipped at the middle one of their norms."""
    norms = joint_oracle(networks, losses, records, 1.0)[1]
    clip = sorted(norms)[2]
    total = every(clipped_sums(networks, losses, records, clip)[0])
    for i in range(5):
        rest = tuple(torch.cat([part[:i], part[i + 1 :]]) for part in records)
        without = every(clipped_sums(networks, losses, rest, clip)[0])
        moved = norm_of([a - b for a, b in zip(total, without, strict=True)])
        assert moved == pytest.approx(min(clip, norms[i]), rel=1e-9)


def oracle_of_one(networks, losses, records, name, clip):
    network = networks[name]
    return oracle(network, lambda _, i: losses(networks, *(p[i] for p in records))[name], torch.arange(5), clip)[0]


def test_removing_one_record_moves_all_three_sums_together_by_at_most_clip(make_target, make_images):
    _, networks, losses, records = vae_gan_case(make_target, make_images, 5)
    require_moved_by_at_most_clip(networks, losses, records)


def test_removing_one_record_moves_a_vae_gans_whole_step_by_at_most_clip_over_batch(make_target, make_images):
    # All coins fixed: latents, posterior noise of the records that stay, private noise.
    x = to_float(torch.from_numpy(make_images(4, 16)))
    gradients = []
    for units in ([0, 1, 2, 3], [0, -1, 2, 3]):
        target = make_target("vae_gan", 16, latent=16).train()
        rule = PrivateGradients(2.0, 0.1, SecretDraws(KEY), 4.0)
        take_step(target, x, rule=rule, units=torch.tensor(units))
        gradients.append([p.grad * 4.0 for p in target.parameters()])
    moved = norm_of([a - b for a, b in zip(*gradients, strict=True)])
    assert 0.09 < moved <= 0.1 * (1 + 1e-3)


@pytest.mark.parametrize("norm", ["group", "none"])
def test_an_empty_batch_adds_noise_alone_to_all_three_networks(make_target, make_images, norm):
    target, networks, losses, records = vae_gan_case(make_target, make_images, 0, norm=norm)
    sums, values = clipped_sums(networks, losses, records, 1.0)
    assert {name: [p.shape for p in parts] for name, parts in sums.items()} == {
        name: [p.shape for p in network.parameters()] for name, network in networks.items()
    }
    assert not any(part.any() for part in every(sums))
    assert all(value.shape == (0,) for value in values.values())
    rule = PrivateGradients(1.0, 1.0, SecretDraws(KEY), 4.0)
    history = take_step(target.float(), records[0].float(), rule=rule)
    assert history.keys() == {"loss_discriminator", "loss_generator", "d_fake"}
    assert all(bool(p.isfinite().all()) for p in target.parameters())
    first = target.encoder[0][0].weight.grad  # the encoder sees no generated record: noise is all it got
    assert float(first.std()) == pytest.approx(1 / 4, rel=5 / math.sqrt(2 * first.numel()))


@pytest.mark.parametrize("generator_learns", [True, False])
def test_the_generated_side_of_a_vae_gan_is_untouched(make_target, make_images, generator_learns):
    # The whole step: the clipped part of real records, and the plain gradients of generated ones.
    target = make_target("vae_gan", 16).train()
    slow = copy.deepcopy(target)
    x = to_float(torch.from_numpy(make_images(6, 16)))
    rule = PrivateGradients(0.0, 1e-3, SecretDraws(KEY), 4.0)
    take_step(target, x, generator_learns=generator_learns, rule=rule)

    noise = Draws(Streams(3))("posterior", 0, normal(6, 8))
    networks = {name: slow.get_submodule(name) for name in (NETWORKS if generator_learns else NETWORKS[:1])}
    every_network = {name: slow.get_submodule(name) for name in NETWORKS}
    private = joint_oracle(networks, lambda _, *r: slow.real_losses(every_network, *r), (x, noise), 1e-3)[0]
    fake = slow.generate(Draws(Streams(3))("latent", 0, normal(5, 8)))
    plain = {"discriminator": softplus(slow.discriminate(fake.detach())).mean()}
    if generator_learns:
        plain["generator"] = softplus(-slow.discriminate(fake)).mean()
    for name in NETWORKS:
        parameters = list(slow.get_submodule(name).parameters())
        added = torch.autograd.grad(plain[name], parameters) if name in plain else [0.0] * len(parameters)
        for i, fast in enumerate(target.get_submodule(name).parameters()):
            if name not in networks:
                assert fast.grad is None
            else:
                torch.testing.assert_close(fast.grad, private[name][i] / 4.0 + added[i], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("arm", [{"name": "dropout", "rate": 0.5}, {"name": "noise_layer", "sigma": 1.0}], ids=str)
def test_under_clipping_the_same_record_twice_gets_masks_and_noise_of_its_own(make_target, make_images, arm):
    # A shared mask would let the sum of equal records be a multiple of one of them.
    target, networks, losses, (x, noise) = vae_gan_case(make_target, make_images, 1, arm)
    copies = (x.expand(8, -1, -1, -1), noise.expand(8, -1))

    def run(records):
        for layer in target.modules():
            if isinstance(layer, RandomLayer):
                layer.begin(Draws(Streams(1), block=STEP), 0)
        return clipped_sums(networks, losses, records, 1e6)

    values = run(copies)[1]
    for name in NETWORKS:
        assert len(set(values[name].tolist())) == 8
    assert run(copies)[1]["encoder"].tolist() == values["encoder"].tolist()
    target.eval()  # the same without randomness, so that nothing else tells equal records apart
    assert all(len({round(v, 9) for v in run(copies)[1][name].tolist()}) == 1 for name in NETWORKS)


# A record's loss has a gradient of the network in it: WGAN-GP


def wgan_gp_case(make_target, make_images, count, arm="none", norm="group"):
    """A critic in double precision, its losses over real records, and records with their partners and mixes."""
    target = make_target("wgan_gp", 16, norm=norm)
    Arm.parse(arm).modify(target)
    critic = target.double().train().discriminator
    x, partner = (to_float(torch.from_numpy(make_images(count, 16, seed=seed))).double() for seed in (1, 2))
    mix = torch.rand(count, 1, 1, 1, generator=Streams(1).torch("mix"), dtype=torch.float64)
    return {"discriminator": critic}, target.real_losses, (x, partner, mix)


@pytest.mark.parametrize(("arm", "norm"), [("none", "group"), ("none", "none"), ("weight_norm", "group")])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_loss_and_penalty_are_clipped_together_as_one_record_at_a_time(make_target, make_images, arm, norm, share):
    networks, losses, records = wgan_gp_case(make_target, make_images, 5, arm, norm)
    norms = sorted(joint_oracle(networks, losses, records, 1.0)[1])
    clip = {0.0: 0.5 * norms[0], 0.5: norms[2], 1.0: 2 * norms[-1]}[share]  # all, some, none are clipped
    expected, _, values = joint_oracle(networks, losses, records, clip)
    sums, found = clipped_sums(networks, losses, records, clip)
    for fast, slow in zip(sums["discriminator"], expected["discriminator"], strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-11)
    for name in ("discriminator", "d_real", "penalty"):
        assert found[name].tolist() == pytest.approx([value[name] for value in values])
    # Clipping the penalty apart from the loss would be another sum: the test can tell.
    apart = [sum_of_one_term(networks["discriminator"], losses, records, name, clip) for name in ("loss", "penalty")]
    if share < 1:
        both = [a + b for a, b in zip(*apart, strict=True)]
        assert norm_of([a - b for a, b in zip(both, sums["discriminator"], strict=True)]) > 0.01 * clip


def sum_of_one_term(critic, losses, records, name, clip):
    """Of the loss without its penalty, or of the weighted penalty alone; its parameters include one it leaves out."""

    def term(critic, i):
        found = losses({"discriminator": critic}, *(part[i] for part in records))
        nothing = 0.0 * sum(parameter.sum() for parameter in critic.parameters())
        return (10.0 * found["penalty"] if name == "penalty" else -found["d_real"]) + nothing

    return oracle(critic, term, torch.arange(5), clip)[0]


@pytest.mark.parametrize("norm", ["group", "none"])
def test_removing_one_record_moves_the_sum_of_losses_and_penalties_by_at_most_clip(make_target, make_images, norm):
    networks, losses, records = wgan_gp_case(make_target, make_images, 5, norm=norm)
    require_moved_by_at_most_clip(networks, losses, records)


def test_removing_one_record_moves_a_wgan_gps_whole_critic_step_by_at_most_clip_over_batch(make_target, make_images):
    # All coins fixed: latents, the partners and mixes of the records that stay, private noise.
    x = to_float(torch.from_numpy(make_images(4, 16)))
    gradients, statistics = [], []
    for units in ([0, 1, 2, 3], [0, -1, 2, 3]):
        target = make_target("wgan_gp", 16).train()
        rule = PrivateGradients(2.0, 0.1, SecretDraws(KEY), 4.0)
        take_step(target, x, generator_learns=False, rule=rule, units=torch.tensor(units))
        gradients.append([p.grad * 4.0 for p in target.discriminator.parameters()])
        statistics.append(list(target.generator.buffers()))
    moved = norm_of([a - b for a, b in zip(*gradients, strict=True)])
    assert 0.09 < moved <= 0.1 * (1 + 1e-3)
    assert all(torch.equal(a, b) for a, b in zip(*statistics, strict=True))


@pytest.mark.parametrize("norm", ["group", "none"])
def test_an_empty_batch_of_a_wgan_gp_adds_noise_alone(make_target, make_images, norm):
    networks, losses, records = wgan_gp_case(make_target, make_images, 0, norm=norm)
    sums, values = clipped_sums(networks, losses, records, 1.0)
    critic = networks["discriminator"]
    assert [part.shape for part in sums["discriminator"]] == [p.shape for p in critic.parameters()]
    assert not any(part.any() for part in every(sums))
    assert {name: value.shape for name, value in values.items()} == dict.fromkeys(
        ("discriminator", "d_real", "penalty"), (0,)
    )
    found = []
    for sigma in (0.0, 1.0):
        target = make_target("wgan_gp", 16, norm=norm).train()
        rule = PrivateGradients(sigma, 1.0, SecretDraws(KEY), 4.0)
        history = take_step(target, records[0].float(), generator_learns=False, rule=rule)
        assert history.keys() == {"loss_discriminator", "d_fake"}
        found.append(torch.cat([p.grad.flatten() for p in target.discriminator.parameters()]))
    noise = found[1] - found[0]
    assert float(noise.std()) == pytest.approx(1 / 4, rel=5 / math.sqrt(2 * noise.numel()))


@pytest.mark.parametrize("records", [0, 6])
def test_the_generated_side_of_a_wgan_gp_is_untouched(make_target, make_images, records):
    # The whole step: the clipped part of real records and their penalties, and the plain gradient of generated ones.
    target = make_target("wgan_gp", 16).train()
    slow = copy.deepcopy(target)
    x = to_float(torch.from_numpy(make_images(records, 16)))
    rule = PrivateGradients(0.0, 1e-3, SecretDraws(KEY), 4.0)
    take_step(target, x, generator_learns=False, rule=rule)

    fake = slow.generate(Draws(Streams(3))("latent", 0, normal(5, 8))).detach()
    networks, of_record = {"discriminator": slow.discriminator}, slow.of_record(x, fake, batch_of(slow, x).draws)
    private = joint_oracle(networks, slow.real_losses, of_record, 1e-3)[0]["discriminator"]
    parameters = list(slow.discriminator.parameters())
    plain = torch.autograd.grad(slow.discriminate(fake).mean(), parameters)
    for fast, clipped, added in zip(target.discriminator.parameters(), private, plain, strict=True):
        torch.testing.assert_close(fast.grad, clipped / 4.0 + added, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("arm", "names"),
    [  # the gradient at x^ does not see noise that is added before a linear layer
        ({"name": "dropout", "rate": 0.5}, ("d_real", "penalty")),
        ({"name": "noise_layer", "sigma": 1.0}, ("d_real",)),
    ],
    ids=["dropout", "noise_layer"],
)
def test_under_clipping_the_same_record_twice_has_a_loss_and_penalty_of_its_own_masks_and_noise(
    make_target, make_images, arm, names
):
    # A shared mask would let the sum of equal records be a multiple of one of them.
    networks, losses, records = wgan_gp_case(make_target, make_images, 1, arm)
    copies = tuple(part.expand(8, -1, -1, -1) for part in records)

    def run():
        for layer in networks["discriminator"].modules():
            if isinstance(layer, RandomLayer):
                layer.begin(Draws(Streams(1), block=STEP), 0)
        values = clipped_sums(networks, losses, copies, 1e6)[1]
        return {name: values[name].tolist() for name in names}

    values = run()
    assert all(len(set(values[name])) == 8 for name in names)
    assert run() == values
    networks["discriminator"].eval()  # the same without randomness, so that nothing else tells equal records apart
    assert all(len({round(value, 9) for value in found}) == 1 for found in run().values())


@pytest.mark.long
def test_a_wgan_gp_trains_privately_through_empty_batches(make_trainer):
    trainer = make_trainer({**CLIP_ONLY, "sigma": 1.0, "delta": 0.1}, count=3, batch_size=2, name="wgan_gp")
    trainer.run_to(200)
    assert any("penalty" not in row.means for row in trainer.history), "some epoch of a step saw no record"
    assert any("penalty" in row.means for row in trainer.history)
    assert all(bool(p.isfinite().all()) for p in trainer.target.parameters())
