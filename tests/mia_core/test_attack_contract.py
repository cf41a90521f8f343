"""Every attack on every target: what it promises, and what the base class checks. Rows are in `contract`."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from mia_core.access import CAPABILITIES
from mia_core.attacks import ATTACKS, RECORDS, Attack, Knowledge, Scores
from mia_core.attacks.attack import KNOWLEDGE
from mia_core.data.pool import to_float
from mia_core.errors import Refused
from mia_core.meter import Spent
from mia_core.models import Snapshot
from mia_core.settings import settings
from mia_core.streams import Streams
from tests.mia_core.contract import (
    ATTACK_TABLE,
    ONE_OF_EACH,
    PAIRS,
    TARGET_TABLE,
    build,
    every_attack,
    images_for,
    knowledge_for,
    pooled,
    queries_for,
    run,
    same_states,
    trained,
)

pytestmark = pytest.mark.usefixtures("repeatable", "small_chunks")


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


def _triples():
    """Every attack on every target that offers what it uses, one of each on every arm.

    `make test` has two targets, each attack's own one, and white_box everywhere.
    """
    offers = {target: build(target).offers for target in TARGET_TABLE}
    for target, arm in PAIRS:
        for attack in ATTACK_TABLE if arm == "none" else ONE_OF_EACH.values():
            row = ATTACK_TABLE[attack]
            if row.uses <= offers[target]:
                first = (target in ("dcgan", "vae_gan 16 batch") and arm in ("none", "all")) or attack == "white_box"
                first |= (target, arm) == (row.target, "none")
                yield pytest.param(target, arm, attack, marks=[] if first else pytest.mark.slow)


@pytest.mark.parametrize(("target", "arm", "attack"), _triples(), ids=str)
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
    assert all(len(set(level.tolist())) == 11 or row.ties for level in scores.values)
    assert snapshot.drawn == row.draws
    assert same_states(trainer.target.state_dict(), before)
    assert torch.equal(queries, queries_for(target))
    for word in RECORDS:
        assert torch.equal(getattr(known, word), getattr(knowledge_for(target), word))
    assert torch.equal(snapshot.samples(60), Snapshot(trainer.target, Streams(2)).samples(60))


@every_attack
def test_all_randomness_comes_from_rng(attack):
    torch.manual_seed(0)
    np.random.seed(0)
    first = run(attack).values
    torch.manual_seed(1)
    np.random.seed(1)
    assert torch.equal(run(attack).values, first)
    assert torch.equal(run(attack, rng=2).values, first) != ATTACK_TABLE[attack].random


@every_attack
def test_a_score_does_not_depend_on_who_else_is_asked_about(attack):
    # Mistakes 2, 5 and 6 of published code: position, batch statistics of the queries, or a fit to all of them.
    queries = queries_for("dcgan")
    scores = run(attack).values
    order = torch.tensor([7, 2, 9, 0, 10, 5, 1, 8, 3, 6, 4])
    torch.testing.assert_close(run(attack, queries=queries[order]).values, scores[:, order], atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(run(attack, queries=queries[4:5]).values, scores[:, 4:5], atol=1e-5, rtol=1e-6)
    times = 3 if "gradients" in ATTACK_TABLE[attack].uses else 30  # gradients are taken of one at a time
    again = run(attack, queries=torch.cat([queries] * times)).values
    torch.testing.assert_close(again, scores.repeat(1, times), atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("attack", [key for key, row in ATTACK_TABLE.items() if len(row.levels) > 1])
def test_nested_levels_equal_separate_runs_bit_for_bit(attack):
    # Mistake 5 of published code: a surrogate left in evaluation mode after it was first evaluated, here at level 2.
    row, target = ATTACK_TABLE[attack], ATTACK_TABLE[attack].target
    snapshot = Snapshot(trained(target, "none")[0].target, Streams(2))
    nested = run(attack, target).values
    for level, values in zip(row.levels, nested, strict=True):
        alone = ATTACKS.choose({**row.spec, ATTACKS.find(row.name).nested: [level]}).build()
        scores = alone(snapshot, queries_for(target), knowledge_for(target), Streams(1)).scores
        assert torch.equal(scores.values[0], values)
    assert row.ties or not torch.equal(nested[0], nested[1])


@pytest.mark.parametrize(
    ("attack", "queries", "gradients"), [("latent 0.0", 8, 0), ("generator 0.0", 8, 6), ("euclidean nested", 0, 0)]
)
def test_each_level_says_what_it_asked_of_the_model(attack, queries, gradients):
    # Two starts; the start itself and three steps are looked at, and a gradient is taken before each step.
    row = ATTACK_TABLE[attack]
    built = ATTACKS.choose(row.spec).build()
    snapshot = Snapshot(trained(row.target, "none")[0].target, Streams(2))
    found = built(snapshot, queries_for(row.target), knowledge_for(row.target), Streams(1))
    assert found.spent == (Spent(queries=11 * queries, gradients=11 * gradients),) * 2


@pytest.mark.parametrize("attack", [key for key, row in ATTACK_TABLE.items() if row.needs])
def test_what_must_be_known_and_is_not_is_named(attack):
    row = ATTACK_TABLE[attack]
    for left in row.needs:
        known = {word: getattr(knowledge_for("dcgan"), word) for word in row.needs - {left}}
        with pytest.raises(ValueError, match=f"^{row.name} needs {left}$"):
            run(attack, knowledge=Knowledge(**known))
    nothing_of_use = {word: getattr(knowledge_for("dcgan"), word) for word in KNOWLEDGE - row.needs}
    with pytest.raises(ValueError, match=f"^{row.name} needs {', '.join(sorted(row.needs))}$"):
        run(attack, knowledge=Knowledge(**nothing_of_use))


@every_attack
def test_a_model_that_lacks_what_an_attack_uses_is_refused_with_what_it_lacks(attack):
    row = ATTACK_TABLE[attack]
    built = ATTACKS.choose(row.spec).build()
    for left in row.uses:
        bare = Snapshot(trained(row.target, "none")[0].target, Streams(2))
        bare.offers = bare.offers - {left}
        assert built.unfit(bare.facts) == f"{row.target} does not offer {left}"
        with pytest.raises(Refused, match=f"^{row.name}: {row.target} does not offer {left}$"):
            run(attack, snapshot=bare)
    assert built.unfit(replace(trained(row.target, "none")[0].target.facts, offers=row.uses)) is None


@pytest.mark.parametrize("attack", [key for key, row in ATTACK_TABLE.items() if row.needs])
def test_known_records_that_are_used_matter_and_others_do_not(attack):
    # An attack may look at what it declares to need, and at no other knowledge. Samples are noise here, for BEGAN: its
    # balance leaves the fake side alone as long as the real side reconstructs better than what it generates.
    row, known = ATTACK_TABLE[attack], knowledge_for("dcgan")
    snapshot = Snapshot(trained(row.target, "none")[0].target, Streams(2))
    snapshot.samples = lambda count: to_float(torch.from_numpy(images_for("dcgan", count, 8)))
    scores = run(attack, snapshot=snapshot).values
    others = {"reference": queries_for("dcgan"), "extractor": lambda images: pooled(images).cos()}
    for word in sorted(KNOWLEDGE):
        changed = Knowledge(**{**vars(known), word: others.get(word, -torch.ones(7, 1, 8, 8))})
        found = run(attack, knowledge=changed, snapshot=snapshot).values
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
        run(attack, queries=change(queries_for("dcgan")))


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
