"""What every target, arm and attack promises, and which of them refuse each other. A new one adds one row here."""

import copy
import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from mia_core.access import CAPABILITIES, Access, view
from mia_core.attacks import ATTACKS, Attack, Knowledge, Scores
from mia_core.data.pool import to_float
from mia_core.defenses import DEFENSES, Arm
from mia_core.errors import Refused
from mia_core.models import Snapshot
from mia_core.settings import settings
from mia_core.streams import Streams
from mia_core.targets import DCGAN, TARGETS
from mia_core.training import Trainer, TrainingConfig
from tests.mia_core.states import assert_same


@pytest.fixture(scope="module", autouse=True)
def repeatable():
    """As a study computes: an operation without a kernel that repeats its bits raises."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


# The tables

TARGET_TABLE: dict[str, dict[str, Any]] = {
    "dcgan": {"name": "dcgan", "width": 4, "latent": 4},
    "dcgan 16 batch": {"name": "dcgan", "width": 4, "latent": 4, "norm": "batch", "size": 16},
    "dcgan 16 authors": {"name": "dcgan", "width": 4, "latent": 4, "networks": "authors", "size": 16},
    "began": {"name": "began", "width": 2, "latent": 4, "balance_rate": 0.2},
    "began 16": {"name": "began", "width": 2, "latent": 4, "balance_rate": 0.2, "size": 16},
    "vae_gan": {"name": "vae_gan", "width": 4, "latent": 4},
    "vae_gan 16 batch": {"name": "vae_gan", "width": 4, "latent": 4, "norm": "batch", "size": 16},
    "wgan_gp": {"name": "wgan_gp", "width": 4, "latent": 4},
    "wgan_gp 16 authors": {"name": "wgan_gp", "width": 4, "latent": 4, "networks": "authors", "size": 16},
    "wgan_gp 16 none": {"name": "wgan_gp", "width": 4, "latent": 4, "norm": "none", "size": 16},
}
"""Settings, and the size of the images where it is not 8."""

PRIVATE = {"name": "dp_sgd", "sigma": 0.5, "clip": 1.0, "delta": 1e-3}
NOISE = {"name": "noise_layer", "sigma": 0.3}
ARM_TABLE: dict[str, Any] = {
    "none": "none",
    "dropout": "dropout",
    "weight_norm": "weight_norm",
    "noise_layer": NOISE,
    "real_weight": {"name": "real_weight", "weight": 0.1},
    "dropout+weight_norm+noise_layer": ["dropout", "weight_norm", NOISE],
    "dp_sgd": PRIVATE,
    "clip only": {**PRIVATE, "sigma": 0.0},
    "dp_sgd+dropout": [PRIVATE, "dropout"],
    "dp_sgd+weight_norm": [PRIVATE, "weight_norm"],
    "dp_sgd+noise_layer": [PRIVATE, NOISE],
    "all": [NOISE, "weight_norm", PRIVATE, "dropout"],
}

REFUSALS = {  # of a defense by a target
    ("dp_sgd", "began"): "dp_sgd does not cover the balance k of began, which no gradient carries",
    ("dp_sgd", "began 16"): "dp_sgd does not cover the balance k of began, which no gradient carries",
    ("dp_sgd", "dcgan 16 batch"): ("dp_sgd needs a discriminator without batch norm; set target.norm to group or none"),
    ("dp_sgd", "vae_gan 16 batch"): (
        "dp_sgd needs a discriminator without batch norm; set target.norm to group or none"
    ),
}


@dataclass(frozen=True)
class Row:
    """What the attack should declare. draws: samples. random: whether scores depend on rng."""

    spec: dict[str, Any]
    uses: frozenset[str]
    access: Access
    draws: int
    levels: tuple[int | None, ...] = (None,)
    needs: frozenset[str] = frozenset()
    known: int = 0
    random: bool = False

    @property
    def name(self) -> str:
        return self.spec["name"]


SURROGATES = {
    "dcgan": {"name": "dcgan", "width": 2, "latent": 3, "norm": "batch"},
    "began": {"name": "began", "width": 3, "latent": 3, "balance_rate": 1.0, "diversity": 1.0},
    "vae_gan": {"name": "vae_gan", "width": 2, "latent": 3, "norm": "none"},
    "wgan_gp": {"name": "wgan_gp", "width": 2, "latent": 3, "norm": "none", "penalty_weight": 1.0},
}
"""The attacker's own, of other settings than any target above."""

NOTHING: frozenset[str] = frozenset()
SAMPLES = frozenset({"samples"}), Access.SAMPLES

SIDES = {
    None: frozenset(),
    "members": frozenset({"known_members"}),
    "non_members": frozenset({"known_non_members"}),
    "both": frozenset({"known_members", "known_non_members"}),
}


def _surrogate(attack: str, surrogate: str, **more: Any) -> dict[str, Any]:
    return {"name": attack, "steps": [2, 5], "batch_size": 6, "surrogate": SURROGATES[surrogate], **more}


ATTACK_TABLE: dict[str, Row] = {
    "white_box": Row({"name": "white_box"}, frozenset({"discriminate"}), Access.WHITE_BOX, 0),
    "random": Row({"name": "random"}, NOTHING, Access.NONE, 0, random=True),
    "euclidean": Row({"name": "euclidean", "generated": 70}, *SAMPLES, 70, levels=(70,)),
    "euclidean nested": Row({"name": "euclidean", "generated": [20, 70]}, *SAMPLES, 70, levels=(20, 70)),
    **{
        f"local_gan {side or 'nothing'} {surrogate}": Row(
            _surrogate("local_gan", surrogate, generated=30, **({"known": 20, "sides": side} if side else {})),
            *SAMPLES,
            30,
            levels=(2, 5),
            needs=needs,
            known=20 if side else 0,
            random=True,
        )
        for side, needs in SIDES.items()
        for surrogate in SURROGATES
    },
    **{
        f"discriminative {real} {surrogate}": Row(
            _surrogate("discriminative", surrogate, real=real, known=10, **({"generated": 30} if draws else {})),
            *uses,
            draws,
            levels=(2, 5),
            needs=needs,
            known=10,
            random=True,
        )
        for real, uses, draws, needs in (
            ("samples", SAMPLES, 30, frozenset({"known_non_members"})),
            ("members", (NOTHING, Access.NONE), 0, SIDES["both"]),
        )
        for surrogate in SURROGATES
        if TARGETS.choose(SURROGATES[surrogate]).cls.judges_alone
    },
}

# What follows reads the tables only

PAIRS = [
    (target, arm)
    for target in TARGET_TABLE
    for arm in ARM_TABLE
    if not any((choice.name, target) in REFUSALS for choice in Arm.parse(ARM_TABLE[arm]).choices)
]
ONE_OF_EACH = {row.name: key for key, row in ATTACK_TABLE.items()}
"""Every attack once: it sees of an arm only the networks that it left, and of a target only its size."""

END = 6
"""Steps of training: two epochs of three."""

every_pair = pytest.mark.parametrize(("target", "arm"), PAIRS, ids=[f"{a}-{b}" for a, b in PAIRS])
every_attack = pytest.mark.parametrize("attack", ATTACK_TABLE)
every_target = pytest.mark.parametrize("target", TARGET_TABLE)


def _images(target, count, seed):
    size = TARGET_TABLE[target].get("size", 8)
    return np.random.default_rng(seed).integers(0, 256, (count, 1, size, size), dtype=np.uint8)


def build(target):
    row = dict(TARGET_TABLE[target])
    size = row.pop("size", 8)
    return TARGETS.choose(row).build((1, size, size))


def make_trainer(target, arm, generator_every=2):
    config = TrainingConfig(batch_size=4, learning_rate=2e-3, generator_every=generator_every)
    images = _images(target, 12, 0)
    return Trainer(build(target), images, 12, config, Arm.parse(ARM_TABLE[arm]), Streams(9), bytes(32))


@functools.cache
def trained(target, arm):
    """A trainer that went to the end in one go, and what its target was before; nobody may train it further."""
    trainer = make_trainer(target, arm)
    before = copy.deepcopy(trainer.target.state_dict())
    trainer.run_to(END)
    return trainer, before


@functools.cache
def queries_for(target):
    return to_float(torch.from_numpy(_images(target, 11, 3)))


@functools.cache
def knowledge_for(target):
    members, others = (to_float(torch.from_numpy(_images(target, 7, seed))) for seed in (21, 22))
    return Knowledge(known_members=members, known_non_members=others)


def run(attack, target, queries=None, arm="none", rng=1, snapshot=None, knowledge=None):
    built = ATTACKS.choose(ATTACK_TABLE[attack].spec).build()
    queries = queries_for(target) if queries is None else queries
    snapshot = snapshot or Snapshot(trained(target, arm)[0].target, Streams(2))
    return built(snapshot, queries, knowledge or knowledge_for(target), Streams(rng)).scores


def same_states(a, b):
    return all(torch.equal(value, b[name]) for name, value in a.items())


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
    expected = [REFUSALS[c.name, target] for c in parsed.choices if (c.name, target) in REFUSALS]
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
    for name in ("discriminator", "generator", "encoder"):
        built = build(target)
        if not hasattr(built, name):
            continue
        built.get_submodule(name).add_module("mixes", torch.nn.Sequential(torch.nn.BatchNorm2d(3)))
        reason = f"dp_sgd needs a {name} without batch norm; set target.norm to group or none"
        assert Arm.parse(PRIVATE).refusal(built) == (reason if name in built.private else None)


class GeneratorOnly(DCGAN):
    """Offers its discriminator to nobody."""

    name = "generator_only"
    offers = frozenset({"samples", "latent", "generator"})


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
        assert row.means.keys() >= {"loss_generator", "loss_discriminator", "d_real", "d_fake"}
        assert all(np.isfinite(value) for value in row.means.values())
    assert all(parameter.requires_grad for parameter in trainer.target.parameters())


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@every_pair
def test_training_in_pieces_evaluated_and_taken_up_again_equals_one_go(target, arm):
    whole, _ = trained(target, arm)
    begun = make_trainer(target, arm)
    for stop in (2, 4):
        begun.run_to(stop)
        assert not any(module.training for module in begun.target.modules())
        snapshot = Snapshot(begun.target, Streams("evaluation"))
        snapshot.discriminate(snapshot.samples(5))
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
    together = snapshot.discriminate(queries)
    assert together.shape == (len(queries),)
    assert float(together.std()) > 0
    torch.testing.assert_close(
        torch.cat([snapshot.discriminate(x[None]) for x in queries]), together, atol=1e-5, rtol=0
    )


@every_target
def test_arms_start_from_the_same_function_and_draws_of_one_do_not_depend_on_another(target):
    plain = make_trainer(target, "none").target.eval()
    for pair in PAIRS:
        if pair[0] == target:
            other = make_trainer(*pair).target.eval()
            with torch.no_grad():
                torch.testing.assert_close(
                    other.discriminate(queries_for(target)), plain.discriminate(queries_for(target)), rtol=0, atol=1e-5
                )
            assert same_states(other.generator.state_dict(), plain.generator.state_dict())


@every_target
def test_a_snapshot_has_what_its_target_offers(target):
    built = trained(target, "none")[0].target
    offered = view(Snapshot(built, Streams(2)), built.offers)
    queries, z = queries_for(target), torch.randn(3, built.latent_dimension, generator=Streams(0).torch("z"))
    assert built.offers >= {"samples", "latent", "generator"}, "every target is a generator"
    assert offered.samples(4).shape == queries[:4].shape
    assert offered.generate(z).shape == queries[:3].shape
    torch.testing.assert_close(offered.generator(z), offered.generate(z), atol=1e-6, rtol=0)
    for score in [offered.discriminate(queries)] if "discriminate" in built.offers else []:
        assert score.shape == (11,)
        assert float(score.std()) > 0
    for moment in offered.encode(queries) if "encode" in built.offers else []:
        assert moment.shape == (11, built.latent_dimension)
        assert float(moment.std(dim=0).min()) > 0
    assert built.offers <= {"samples", "latent", "generator", "discriminate", "encode"}, "the rest is not tested here"


# Attacks


class Counted(Snapshot):
    """Notes the largest number of samples asked for."""

    drawn = 0

    def samples(self, count):
        self.drawn = max(self.drawn, count)
        return super().samples(count)


@every_attack
def test_an_attack_declares_what_it_touches_and_needs(attack):
    row = ATTACK_TABLE[attack]
    built = ATTACKS.choose(row.spec).build()
    assert (built.uses, built.access, built.needs) == (row.uses, row.access, row.needs)
    assert (built.levels, built.generated, built.known) == (row.levels, row.draws, row.known)


@pytest.mark.parametrize(
    ("target", "arm", "attack"),
    [(target, "none", attack) for target in TARGET_TABLE for attack in ATTACK_TABLE]
    + [(*pair, attack) for pair in PAIRS if pair[1] != "none" for attack in ONE_OF_EACH.values()],
    ids=str,
)
def test_an_attack_keeps_its_promise_and_changes_nothing(target, arm, attack):
    row, trainer = ATTACK_TABLE[attack], trained(target, arm)[0]
    before = copy.deepcopy(trainer.target.state_dict())
    queries, known = queries_for(target).clone(), copy.deepcopy(knowledge_for(target))
    snapshot = Counted(trainer.target, Streams(2))
    scores = run(attack, target, queries, snapshot=snapshot, knowledge=known)
    assert scores.levels == row.levels
    assert scores.values.shape == (len(row.levels), 11)
    assert scores.values.dtype == torch.float32
    assert scores.values.device.type == "cpu"
    assert not scores.values.requires_grad
    assert bool(scores.values.isfinite().all())
    assert all(len(set(level.tolist())) == 11 for level in scores.values)
    assert snapshot.drawn == row.draws
    assert same_states(trainer.target.state_dict(), before)
    assert torch.equal(queries, queries_for(target))
    for word in known.has():
        assert torch.equal(getattr(known, word), getattr(knowledge_for(target), word))
    assert torch.equal(snapshot.samples(60), Snapshot(trainer.target, Streams(2)).samples(60))


@every_attack
def test_all_randomness_comes_from_rng(attack):
    torch.manual_seed(0)
    np.random.seed(0)
    first = run(attack, "dcgan").values
    torch.manual_seed(1)
    np.random.seed(1)
    assert torch.equal(run(attack, "dcgan").values, first)
    assert torch.equal(run(attack, "dcgan", rng=2).values, first) != ATTACK_TABLE[attack].random


@every_attack
def test_a_score_does_not_depend_on_who_else_is_asked_about(attack):
    # Mistakes 2, 5 and 6 of published code: position, batch statistics of the queries, or a fit to all of them.
    queries = queries_for("dcgan")
    scores = run(attack, "dcgan").values
    order = torch.tensor([7, 2, 9, 0, 10, 5, 1, 8, 3, 6, 4])
    torch.testing.assert_close(run(attack, "dcgan", queries[order]).values, scores[:, order], atol=1e-5, rtol=0)
    torch.testing.assert_close(run(attack, "dcgan", queries[4:5]).values, scores[:, 4:5], atol=1e-5, rtol=0)
    twice = torch.cat([queries] * 30)
    torch.testing.assert_close(run(attack, "dcgan", twice).values, scores.repeat(1, 30), atol=1e-5, rtol=0)


@pytest.mark.parametrize("attack", [key for key, row in ATTACK_TABLE.items() if len(row.levels) > 1])
def test_nested_levels_equal_separate_runs_bit_for_bit(attack):
    # Mistake 5 of published code: a surrogate left in evaluation mode after it was first evaluated, here at level 2.
    row, target = ATTACK_TABLE[attack], "dcgan"
    snapshot = Snapshot(trained(target, "none")[0].target, Streams(2))
    nested = run(attack, target).values
    for level, values in zip(row.levels, nested, strict=True):
        alone = ATTACKS.choose({**row.spec, ATTACKS.find(row.name).nested: [level]}).build()
        scores = alone(snapshot, queries_for(target), knowledge_for(target), Streams(1)).scores
        assert torch.equal(scores.values[0], values)
    assert not torch.equal(nested[0], nested[1])


@pytest.mark.parametrize("attack", [key for key, row in ATTACK_TABLE.items() if row.needs])
def test_what_must_be_known_and_is_not_is_named(attack):
    row = ATTACK_TABLE[attack]
    for left in row.needs:
        known = {word: getattr(knowledge_for("dcgan"), word) for word in row.needs - {left}}
        with pytest.raises(ValueError, match=f"^{row.name} needs {left}$"):
            run(attack, "dcgan", knowledge=Knowledge(**known))
    with pytest.raises(ValueError, match=f"^{row.name} needs {', '.join(sorted(row.needs))}$"):
        run(attack, "dcgan", knowledge=Knowledge(reference=torch.zeros(1, 1, 8, 8)))


@every_attack
def test_a_model_that_lacks_what_an_attack_uses_is_refused_with_what_it_lacks(attack):
    row = ATTACK_TABLE[attack]
    built = ATTACKS.choose(row.spec).build()
    for left in row.uses:
        bare = Snapshot(trained("dcgan", "none")[0].target, Streams(2))
        bare.offers = bare.offers - {left}
        assert built.unfit("dcgan", bare.offers) == f"dcgan does not offer {left}"
        with pytest.raises(Refused, match=f"^{row.name}: dcgan does not offer {left}$"):
            run(attack, "dcgan", snapshot=bare)
    assert built.unfit("dcgan", row.uses) is None


@pytest.mark.parametrize("attack", [key for key, row in ATTACK_TABLE.items() if row.known])
def test_known_records_that_are_used_matter_and_others_do_not(attack):
    # An attack may look at what it declares to need, and at no other knowledge. Samples are noise here, for BEGAN: its
    # balance leaves the fake side alone as long as the real side reconstructs better than what it generates.
    row, known = ATTACK_TABLE[attack], knowledge_for("dcgan")
    snapshot = Snapshot(trained("dcgan", "none")[0].target, Streams(2))
    snapshot.samples = lambda count: to_float(torch.from_numpy(_images("dcgan", count, 8)))
    scores = run(attack, "dcgan", snapshot=snapshot).values
    for word in ("known_members", "known_non_members", "reference"):
        changed = Knowledge(**{**vars(known), word: -torch.ones(7, 1, 8, 8)})
        found = run(attack, "dcgan", knowledge=changed, snapshot=snapshot).values
        assert torch.equal(found, scores) != (word in row.needs), word


# What the base class checks, once for all attacks


class Probe(Attack):
    """An attack of the tests: keeps what it was given, returns what it was told to."""

    name = "probe"
    uses = frozenset({"samples"})
    needs = frozenset({"reference", "known_members"})

    @settings
    class Config:
        """Nothing to set."""

    answer = Scores((None,), torch.zeros(1, 11))

    def run(self, view, queries, knowledge, rng):
        self.given = view, queries, knowledge, rng
        return self.answer


KNOWN = Knowledge(reference=torch.zeros(2, 1, 8, 8), known_members=torch.zeros(1, 1, 8, 8))


def probe(answer=Probe.answer, queries=None, knowledge=KNOWN):
    attack = Probe(Probe.Config())
    attack.answer = answer
    queries = queries_for("dcgan") if queries is None else queries
    return attack, attack(Snapshot(trained("dcgan", "none")[0].target, Streams(2)), queries, knowledge, Streams(1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:, :, :7], r"queries must be float32 \[Q,1,8,8\], got torch.float32 \[11, 1, 7, 8\]"),
        (lambda x: x[0], r"queries must be float32 \[Q,1,8,8\]"),
        (lambda x: x.flatten(1), r"queries must be float32 \[Q,1,8,8\]"),
        (lambda x: x[:0], r"queries must be float32 .* got torch.float32 \[0, 1, 8, 8\]"),
        (lambda x: x.double(), "got torch.float64"),
        (lambda x: ((x + 1) * 127).to(torch.uint8), "got torch.uint8"),
        (lambda x: x * 1.01 + 0.01, r"queries must be in \[-1, 1\]"),
        (lambda x: x * float("nan"), "queries must be in|not finite"),
    ],
    ids=["cut", "one", "flat", "empty", "double", "bytes", "range", "nan"],
)
@pytest.mark.parametrize("attack", ONE_OF_EACH.values())
def test_queries_of_another_shape_type_or_range_are_refused(attack, change, message):
    with pytest.raises(ValueError, match=f"{ATTACK_TABLE[attack].name}: .*({message})"):
        run(attack, "dcgan", change(queries_for("dcgan")))


@pytest.mark.parametrize(
    "uses",
    [set(), {"samples"}, {"latent"}, {"generator", "samples"}, {"discriminate"}],
    ids=lambda x: "+".join(sorted(x)),
)
def test_an_attack_gets_the_view_of_what_it_uses_and_nothing_else(uses, monkeypatch):
    monkeypatch.setattr(Probe, "uses", frozenset(uses))
    attack, result = probe()
    given, given_queries, knowledge, rng = attack.given
    assert set(vars(given)) == {name for word in uses for name in CAPABILITIES[word][1]}
    assert torch.equal(given_queries, queries_for("dcgan"))
    assert knowledge is KNOWN
    assert rng.path == (1,)
    assert result.seconds > 0


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Scores((None,), torch.full((1, 11), float("inf"))), "probe: 11 scores are not finite"),
        (Scores((None,), torch.tensor([[float("nan")] + [0.0] * 10])), "probe: 1 scores are not finite"),
        (Scores((None,), torch.full((1, 11), 1e300, dtype=torch.float64)), "probe: 11 scores are not finite"),
        (Scores((None,), torch.zeros(11)), r"promised levels \(None,\) x 11 queries, gave \(None,\) x \[11\]"),
        (Scores((None,), torch.zeros(1, 10)), r"gave \(None,\) x \[1, 10\]"),
        (Scores((5,), torch.zeros(1, 11)), r"gave \(5,\) x \[1, 11\]"),
        (Scores((None, None), torch.zeros(2, 11)), r"gave \(None, None\) x \[2, 11\]"),
    ],
    ids=["inf", "nan", "too large", "flat", "short", "level", "levels"],
)
def test_scores_that_break_the_promise_are_refused(answer, message):
    with pytest.raises(ValueError, match=message):
        probe(answer)


def test_scores_are_handed_out_as_float32_without_their_graph():
    values = torch.arange(11, dtype=torch.float64)[None].requires_grad_()
    _, result = probe(Scores((None,), values))
    assert result.scores.values.dtype == torch.float32
    assert not result.scores.values.requires_grad
    assert result.scores.values[0].tolist() == list(range(11))
