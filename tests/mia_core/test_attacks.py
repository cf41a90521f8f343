"""The contract every registered attack keeps. Adding an attack adds a row to ATTACK_TABLE."""

import copy
import inspect
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from mia_core.access import Access, NoView, Snapshot
from mia_core.attacks import ATTACKS, Attack, Knowledge, Scores
from mia_core.data.pool import to_float
from mia_core.settings import settings
from mia_core.streams import Streams
from mia_core.targets import DCGAN


@dataclass(frozen=True)
class Row:
    """access and draws: what the attack should declare. random: whether its scores depend on rng."""

    spec: dict[str, Any]
    access: Access
    draws: int
    levels: tuple[int | None, ...] = (None,)
    needs: frozenset[str] = frozenset()
    random: bool = False


SURROGATE = {"name": "dcgan", "width": 2, "latent": 4}
ATTACK_TABLE = [
    Row({"name": "white_box"}, Access.WHITE_BOX, 0, needs=frozenset({"discriminator"})),
    Row({"name": "euclidean", "generated": 70}, Access.SAMPLES, 70),
    Row(
        {"name": "local_gan", "steps": [3, 6], "generated": 30, "batch_size": 8, "surrogate": SURROGATE},
        Access.SAMPLES,
        30,
        levels=(3, 6),
        random=True,
    ),
]
every_attack = pytest.mark.parametrize("row", ATTACK_TABLE, ids=lambda row: row.spec["name"])


class Counted(Snapshot):
    """Notes the largest number of samples asked for."""

    drawn = 0

    def samples(self, count):
        self.drawn = max(self.drawn, count)
        return super().samples(count)


class GeneratorOnly(DCGAN):
    """Offers no discriminator."""

    name = "generator_only"
    offers = frozenset({"generator"})


@pytest.fixture(scope="module")
def target(make_trainer):
    trainer = make_trainer("dropout")
    trainer.run_to(6)
    return trainer.target


@pytest.fixture(scope="module")
def queries(make_images):
    return to_float(torch.from_numpy(make_images(11, seed=3)))


def attack_of(row):
    return ATTACKS.choose(row.spec).build()


def run(row, target, queries, rng=1, snapshot=None):
    return attack_of(row)(snapshot or Snapshot(target, Streams(2)), queries, Knowledge(), Streams(rng)).scores


def test_every_registered_attack_is_in_the_table():
    assert sorted(row.spec["name"] for row in ATTACK_TABLE) == ATTACKS.names()


@every_attack
def test_an_attack_declares_what_it_touches(row):
    attack = attack_of(row)
    assert (attack.access, attack.needs) == (row.access, row.needs)
    assert (attack.levels, attack.generated) == (row.levels, row.draws)


@every_attack
def test_scores_are_finite_float32_one_row_a_level_and_vary(row, target, queries):
    result = attack_of(row)(Snapshot(target, Streams(2)), queries, Knowledge(), Streams(1))
    assert result.scores.levels == row.levels
    assert result.scores.values.shape == (len(row.levels), 11)
    assert result.scores.values.dtype == torch.float32
    assert result.scores.values.device.type == "cpu"
    assert not result.scores.values.requires_grad
    assert bool(result.scores.values.isfinite().all())
    assert bool((result.scores.values.std(dim=1) > 0).all())
    assert result.seconds > 0


@every_attack
def test_all_randomness_comes_from_rng(row, target, queries):
    torch.manual_seed(0)
    first = run(row, target, queries).values
    torch.manual_seed(1)
    assert torch.equal(run(row, target, queries).values, first)
    assert torch.equal(run(row, target, queries, rng=2).values, first) != row.random


@every_attack
def test_a_score_does_not_depend_on_who_else_is_asked_about(row, target, queries):
    # Mistakes 2, 5 and 6 of published code: position, batch statistics of the queries, or a fit to all of them.
    scores = run(row, target, queries).values
    order = torch.tensor([7, 2, 9, 0, 10, 5, 1, 8, 3, 6, 4])
    torch.testing.assert_close(run(row, target, queries[order]).values, scores[:, order], atol=1e-5, rtol=0)
    torch.testing.assert_close(run(row, target, queries[4:5]).values, scores[:, 4:5], atol=1e-5, rtol=0)
    twice = torch.cat([queries] * 30)
    torch.testing.assert_close(run(row, target, twice).values, scores.repeat(1, 30), atol=1e-5, rtol=0)


@every_attack
def test_no_attack_is_told_who_is_a_member(row):
    # Mistake 6 of published code: thresholds or networks fitted on the labels they are judged by.
    assert list(inspect.signature(attack_of(row).run).parameters) == ["view", "queries", "knowledge", "rng"]
    assert set(vars(Knowledge())) == {"known_members", "known_non_members", "reference"}


@every_attack
def test_an_attack_changes_neither_target_nor_queries_nor_samples(row, target, queries):
    before, kept = copy.deepcopy(target.state_dict()), queries.clone()
    snapshot = Snapshot(target, Streams(2))
    samples = snapshot.samples(300).clone()
    run(row, target, queries, snapshot=snapshot)
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())
    assert torch.equal(queries, kept)
    assert torch.equal(snapshot.samples(300), samples)


@every_attack
def test_an_attack_draws_as_many_samples_as_it_declares(row, target, queries):
    snapshot = Counted(target, Streams(2))
    run(row, target, queries, snapshot=snapshot)
    assert snapshot.drawn == row.draws


@every_attack
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
def test_queries_of_another_shape_type_or_range_are_refused(row, target, queries, change, message):
    with pytest.raises(ValueError, match=f"{row.spec['name']}: .*({message})"):
        run(row, target, change(queries))


@pytest.mark.parametrize("row", [row for row in ATTACK_TABLE if row.needs], ids=lambda row: row.spec["name"])
def test_what_a_target_does_not_offer_is_named(row, target, queries):
    bare = GeneratorOnly(target.config, target.image_shape)
    with pytest.raises(ValueError, match=f"{row.spec['name']} needs discriminator"):
        run(row, bare, queries)


class Probe(Attack):
    """An attack of the tests: keeps what it was given, returns what it was told to."""

    name = "probe"
    access = Access.SAMPLES
    needs = frozenset({"reference", "known_members"})

    @settings
    class Config:
        """Nothing to set."""

    answer = Scores((None,), torch.zeros(1, 11))

    def run(self, view, queries, knowledge, rng):
        self.given = view, queries, knowledge, rng
        return self.answer


KNOWN = Knowledge(reference=torch.zeros(2, 1, 8, 8), known_members=torch.zeros(1, 1, 8, 8))


def probe(target, queries, answer=Probe.answer, knowledge=KNOWN):
    attack = Probe(Probe.Config())
    attack.answer = answer
    return attack, attack(Snapshot(target, Streams(2)), queries, knowledge, Streams(1))


def test_missing_knowledge_is_named(target, queries):
    with pytest.raises(ValueError, match="probe needs known_members, reference"):
        probe(target, queries, knowledge=Knowledge())
    with pytest.raises(ValueError, match=r"probe needs known_members$"):
        probe(target, queries, knowledge=Knowledge(reference=torch.zeros(2, 1, 8, 8)))


@pytest.mark.parametrize("access", Access)
def test_an_attack_gets_the_view_of_its_access_and_nothing_above(target, queries, access, monkeypatch):
    monkeypatch.setattr(Probe, "access", access)
    attack, _ = probe(target, queries)
    given, given_queries, knowledge, rng = attack.given
    assert isinstance(given, NoView)
    assert given.access == access
    assert torch.equal(given_queries, queries)
    assert knowledge is KNOWN
    assert rng.path == (1,)


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
def test_scores_that_break_the_promise_are_refused(target, queries, answer, message):
    with pytest.raises(ValueError, match=message):
        probe(target, queries, answer)


def test_scores_are_handed_out_as_float32_without_their_graph(target, queries):
    values = torch.arange(11, dtype=torch.float64)[None].requires_grad_()
    _, result = probe(target, queries, Scores((None,), values))
    assert result.scores.values.dtype == torch.float32
    assert not result.scores.values.requires_grad
    assert result.scores.values[0].tolist() == list(range(11))
