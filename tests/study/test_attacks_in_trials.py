"""What attacks are given in a trial, and what changes none of their scores."""

import dataclasses

import torch

from mia_core.attacks import Attack, Euclidean
from mia_core.data.pool import to_float
from study.design.work import missing_of
from study.store import Store
from tests.study.running import assert_same_results, run, table


def test_an_attack_that_raises_costs_only_itself_and_is_run_again(make_design, store, tmp_path, monkeypatch):
    design = make_design()

    def broken(*arguments):
        raise RuntimeError("no samples today")

    with monkeypatch.context() as patched:
        patched.setattr(Euclidean, "run", broken)
        sealed = run(design, store)
    assert all("no samples today" in item.failed["euclidean"] for item in sealed)
    left = missing_of(next(iter(design.trajectories.values())), store)
    assert [(work.train, [wanted.label for wanted in work.attacks], work.measures) for work in left] == [
        (False, ["euclidean"], ())
    ] * 2
    run(design, store)
    fresh = Store(tmp_path / "fresh", "small")
    run(design, fresh)
    assert_same_results(design, store, fresh)


def same_image(x, others):
    """[len(x)]: whether an image is among others."""
    return (x[:, None] == others[None]).flatten(2).all(dim=2).any(dim=1)


def test_attacks_get_the_known_records_they_declare_and_no_query(make_design, store, monkeypatch):
    # Mistake 6 of published code, at the place where an attack meets its queries.
    given = {}

    def spied(plain):
        def call(self, snapshot, queries, knowledge, rng, shared):
            given[self.name + self.variant] = queries, knowledge
            return plain(self, snapshot, queries, knowledge, rng, shared)

        return call

    monkeypatch.setattr(Attack, "__call__", spied(Attack.__call__))
    small = "surrogate: {name: dcgan, width: 2, latent: 4}, steps: [2], known: 20"
    design = make_design(
        f"attacks=[white_box, {{name: local_gan, generated: 64, sides: [members, both], {small}}}, "
        f"{{name: discriminative, real: members, {small}}}]",
        "factors.epochs=[1]", "controls.member_only=false",
    )  # fmt: skip
    run(design, store)
    assert {name: knowledge.has() for name, (_, knowledge) in given.items()} == {
        "white_box": set(),
        "local_gan_members20": {"known_members"},
        "local_gan_known20": {"known_members", "known_non_members"},
        "discriminative_members20": {"known_members", "known_non_members"},
    }
    images = to_float(torch.from_numpy(design.pool.images))
    membership = design.split.membership(0, 40)
    for queries, knowledge in given.values():
        assert torch.equal(queries, images[membership.queries])
        for word in knowledge.has():
            known = getattr(knowledge, word)
            assert len(known) == 8
            assert not same_image(known, queries).any()
            inside = same_image(known, images[membership.train])
            assert inside.all() if word == "known_members" else not inside.any()
    attacks = table(design, store, "attacks").set_index("attack")
    assert attacks.loc["discriminative_members20_steps2", "access"] == "NONE"
    assert attacks.loc["discriminative_members20_steps2", "knowledge"] == (
        "known_members 20 % (8) + known_non_members 20 % (8)"
    )
    assert attacks.loc["local_gan_members20_steps2", "knowledge"] == "known_members 20 % (8)"
    assert attacks["released"].to_dict()["discriminative_members20_steps2"] == 0


def test_numbers_of_samples_are_scored_in_one_run_to_the_bits_of_each_alone(make_design, store, tmp_path, monkeypatch):
    calls, plain = [], Attack.__call__
    monkeypatch.setattr(Attack, "__call__", lambda self, *given: calls.append(self.levels) or plain(self, *given))
    few = ("factors.epochs=[1]", "quality.measures=[]")
    design = make_design("attacks=[{name: euclidean, generated: [16, 64, 300]}]", *few)
    run(design, store)
    assert calls == [(16, 64, 300)]
    apart = Store(tmp_path / "apart", "small")
    for number in (64, 16, 300):
        run(
            make_design(
                f"attacks=[{{name: euclidean, generated: {number}, label: euclidean_generated{number}}}]", *few
            ),
            apart,
        )
    assert calls[1:] == [(64,), (16,), (300,)]
    assert_same_results(design, store, apart)
    scores = table(design, store, "scores").groupby("attack_id")["score"].mean()
    assert len(scores) == 3
    assert scores.nunique() == 3


def test_who_is_a_member_changes_no_score(make_design, store, tmp_path, monkeypatch):
    # Mistake 6 of published code: the same target and queries under turned labels are scored to the same bits.
    small = "surrogate: {name: dcgan, width: 2, latent: 4}, steps: [2], known: 20"
    design = make_design(
        f"attacks=[random, white_box, {{name: euclidean, generated: 64}}, {{name: local_gan, generated: 64, {small}}}, "
        f"{{name: discriminative, real: [samples, members], {small}}}]",
        "factors.epochs=[1]", "quality.measures=[]", "controls.member_only=false",
    )  # fmt: skip
    run(design, store)
    other = Store(tmp_path / "turned", "small")
    turned = type(design)(design.spec, design.pool)
    plain = turned.split.membership
    turned.split.membership = lambda r, n: dataclasses.replace(plain(r, n), member=~plain(r, n).member)
    run(turned, other)
    first, second = (table(design, s, "scores").sort_values(["attack_id", "query"]) for s in (store, other))
    assert len(first) == 6 * 80
    assert (first["member"].to_numpy() != second["member"].to_numpy()).all()
    assert (first["score"].to_numpy() == second["score"].to_numpy()).all()
