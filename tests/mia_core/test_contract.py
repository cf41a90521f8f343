"""Every target under every arm: what they promise, and which of them refuse each other. Rows are in `contract`."""

import numpy as np
import pytest
import torch

from mia_core.access import CAPABILITIES, view
from mia_core.attacks import ATTACKS
from mia_core.defenses import DEFENSES, Arm
from mia_core.models import Snapshot
from mia_core.streams import Streams
from mia_core.targets import TARGETS, Adversarial
from tests.mia_core.contract import (
    ARM_TABLE,
    ATTACK_TABLE,
    END,
    PAIRS,
    PRIVATE,
    REFUSALS,
    TARGET_TABLE,
    GeneratorOnly,
    build,
    every_pair,
    every_target,
    make_trainer,
    queries_for,
    refusals,
    same_states,
    scores_of,
    trained,
)
from tests.mia_core.states import assert_same

pytestmark = pytest.mark.usefixtures("repeatable", "small_chunks")


# The tables are complete


def test_everything_registered_is_in_the_tables():
    # Benchmarks add one of their own.
    own = [name for name in TARGETS.names() if TARGETS.find(name).__module__.startswith("mia_core.")]
    assert sorted({row["name"] for row in TARGET_TABLE.values()}) == own
    assert sorted({row.name for row in ATTACK_TABLE.values()}) == ATTACKS.names()
    arms = [Arm.parse(spec) for spec in ARM_TABLE.values()]
    assert sorted({choice.name for arm in arms for choice in arm.choices}) == DEFENSES.names()
    alone = {arm.defense for arm in arms if len(arm.choices) == 1}
    assert sorted(alone) == DEFENSES.names()


@every_target
@pytest.mark.parametrize("arm", ARM_TABLE)
def test_a_pair_is_refused_with_the_reason_of_the_table_or_fits(target, arm):
    parsed = Arm.parse(ARM_TABLE[arm])
    expected = refusals(target, arm)
    assert parsed.refusal(build(target)) == (expected[0] if expected else None)
    if expected:
        with pytest.raises(ValueError, match=f"^{expected[0]}$"):
            make_trainer(target, arm)


@pytest.mark.parametrize("defense", ["dropout", "weight_norm", "noise_layer"])
def test_a_defense_of_the_discriminator_refuses_a_target_without_one(defense):
    only = GeneratorOnly(build("dcgan").config, (1, 8, 8))
    assert (
        Arm.parse(ARM_TABLE[defense]).refusal(only) == f"{defense} needs a discriminator, and generator_only has none"
    )


@pytest.mark.parametrize("target", [name for name in TARGET_TABLE if ("dp_sgd", name) not in REFUSALS])
def test_dp_sgd_refuses_batch_norm_in_any_private_network_and_in_no_other(target):
    for name in ("discriminator", "generator", "encoder", "denoiser"):
        built = build(target)
        if not hasattr(built, name):
            continue
        built.get_submodule(name).add_module("mixes", torch.nn.Sequential(torch.nn.BatchNorm2d(3)))
        reason = f"dp_sgd needs a {name} without batch norm; set target.norm to group or none"
        assert Arm.parse(PRIVATE).refusal(built) == (reason if name in built.private else None)


# Training


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of weight norm's gradient under vmap
@every_pair
def test_every_parameter_and_buffer_learns_and_stays_finite(target, arm):
    trainer, before = trained(target, arm)
    after = trainer.target.state_dict()
    assert after.keys() == before.keys()
    assert [name for name, value in after.items() if not bool(value.isfinite().all())] == []
    assert [name for name, value in after.items() if torch.equal(value, before[name])] == []
    assert len(trainer.history) == 2
    for row in trainer.history:
        reported = {"d_real", "d_fake"} if isinstance(trainer.target, Adversarial) else set()
        assert row.means.keys() >= {f"loss_{name}" for name in trainer.target.networks} - {"loss_encoder"} | reported
        assert all(np.isfinite(value) for value in row.means.values())
    averages = {id(p) for name in trainer.target.averages for p in trainer.target.get_submodule(name).parameters()}
    assert all(parameter.requires_grad != (id(parameter) in averages) for parameter in trainer.target.parameters())


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@every_pair
def test_training_in_pieces_evaluated_and_taken_up_again_equals_one_go(target, arm):
    whole, _ = trained(target, arm)
    begun = make_trainer(target, arm)
    for stop in (2, 4):
        begun.run_to(stop)
        assert not any(module.training for module in begun.target.modules())
        snapshot = Snapshot(begun.target, Streams("evaluation"))
        scores_of(snapshot, snapshot.samples(5))
    state = begun.state(unsealed=True)
    begun.run_to(END)
    assert_same(begun, whole)
    torch.manual_seed(99)
    resumed = make_trainer(target, arm)
    resumed.restore(*state)
    resumed.run_to(END)
    assert_same(resumed, whole)


@every_pair
def test_samples_are_images_and_scores_depend_on_the_record_alone(target, arm):
    # Mistake 5 of published code: batch statistics, and dropout or noise that is still on.
    snapshot = Snapshot(trained(target, arm)[0].target, Streams(2))
    samples, queries = snapshot.samples(40), queries_for(target)
    assert samples.shape[1:] == queries.shape[1:]
    assert float(samples.abs().max()) <= 1
    assert len(torch.unique(samples, dim=0)) > 30
    together = scores_of(snapshot, queries)
    assert together.shape == (len(queries),)
    assert float(together.std()) > 0
    torch.testing.assert_close(
        torch.cat([scores_of(snapshot, x[None]) for x in queries]), together, atol=1e-5, rtol=1e-5
    )


@every_target
def test_arms_start_from_the_same_function_and_draws_of_one_do_not_depend_on_another(target):
    plain = make_trainer(target, "none").target.eval()
    for pair in PAIRS:
        if pair[0] == target:
            other = make_trainer(*pair).target.eval()
            with torch.no_grad():
                found = [scores_of(Snapshot(one, Streams(2)), queries_for(target)) for one in (other, plain)]
                torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)
            for name in ("generator", "denoiser"):
                if hasattr(plain, name):
                    assert same_states(getattr(other, name).state_dict(), getattr(plain, name).state_dict())


@every_target
def test_a_snapshot_has_what_its_target_offers(target):
    built = trained(target, "none")[0].target
    offered = view(Snapshot(built, Streams(2)), built.offers)
    queries, z = queries_for(target), torch.randn(3, built.latent_dimension, generator=Streams(0).torch("z"))
    assert "samples" in built.offers, "every target is a generator"
    assert offered.samples(4).shape == queries[:4].shape
    for images in [offered.generate(z)] if "latent" in built.offers else []:
        assert images.shape == queries[:3].shape
        torch.testing.assert_close(offered.generate(offered.latents(4)), offered.samples(4), atol=1e-5, rtol=0)
        if "generator" in built.offers:
            torch.testing.assert_close(offered.generator(z), images, atol=1e-6, rtol=0)
    for score in [offered.discriminate(queries)] if "discriminate" in built.offers else []:
        assert score.shape == (11,)
        assert float(score.std()) > 0
    for moment in offered.encode(queries) if "encode" in built.offers else []:
        assert moment.shape == (11, built.latent_dimension)
        assert float(moment.std(dim=0).min()) > 0
    for eps in [offered.denoise(queries, torch.arange(11))] if "denoise" in built.offers else []:
        assert eps.shape == queries.shape
        assert not eps.requires_grad
        assert float(eps.std()) > 0
        assert bool((offered.alpha_bar.diff() < 0).all())
    for time in (0, 20) if "variation" in built.offers else ():
        images = offered.variation(queries, time, Streams(4))
        assert images.shape == queries.shape
        assert float(images.abs().max()) <= 1
        assert torch.equal(images, offered.variation(queries, time, Streams(4)))
        assert not torch.equal(images, offered.variation(queries, time, Streams(5)))
    for norms in [offered.gradients(queries, Streams(4))] if "gradients" in built.offers else []:
        assert norms.shape == (11, len(offered.gradient_names))
        assert float(norms.std(dim=0).min()) > 0
        assert all(p.grad is None or p.requires_grad for p in built.parameters())
    assert built.offers <= CAPABILITIES.keys()
