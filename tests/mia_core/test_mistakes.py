"""The six mistakes of published code (SCIENCE.md, section 2), each excluded by a test of its own."""

import inspect

import numpy as np
import pytest
import torch

from mia_core.attacks import ATTACKS, Knowledge
from mia_core.data import SPLITS
from mia_core.metrics import judge, roc
from mia_core.metrics.leakage import tpr_at_fpr
from mia_core.models import Snapshot
from mia_core.streams import Streams
from mia_core.targets import TARGETS
from tests.mia_core.contract import ADVERSARIAL
from tests.mia_core.replay import Replay
from tests.mia_core.steps import floats, take_step

SURROGATES = {
    "dcgan batch": {"name": "dcgan", "width": 2, "latent": 4, "norm": "batch"},
    "dcgan": {"name": "dcgan", "width": 2, "latent": 4},
    "vae_gan batch": {"name": "vae_gan", "width": 2, "latent": 4, "norm": "batch"},
    "began": {"name": "began", "width": 2, "latent": 4},
    "wgan_gp": {"name": "wgan_gp", "width": 2, "latent": 4},
}
every_surrogate = pytest.mark.parametrize("surrogate", SURROGATES)
DISTANCE_ATTACKS = ["euclidean"]


# 1. A 'LOGAN' baseline whose sampler only ever drew label 1.


@pytest.mark.parametrize("target", ADVERSARIAL)
@pytest.mark.parametrize("side", ["real", "generated", "known non-members"])
def test_mistake_1_every_step_of_a_discriminator_learns_from_both_labels(make_target, make_images, target, side):
    # Other records on one side alone, everything else the same, must move the discriminator elsewhere.
    weights = []
    for other in (False, True):
        built = make_target(target).train()
        if target == "began":
            built.balance.fill_(0.5)  # at 0 the fake side weighs nothing, which is BEGAN's own doing
        x, contrast = (floats(make_images(4, seed=seed)) for seed in (0, 1))
        x = -x if other and side == "real" else x
        contrast = -contrast if other and side == "known non-members" else contrast
        seed = 4 if other and side == "generated" else 3
        take_step(built, x, generator_learns=False, seed=seed, fakes=3, contrast=contrast)
        weights.append(torch.cat([p.detach().flatten() for p in built.discriminator.parameters()]))
    assert not torch.equal(*weights)


@pytest.mark.parametrize("batch_size", [2, 3, 8])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_mistake_1_known_records_never_crowd_a_side_out(make_target, make_images, monkeypatch, batch_size, share):
    surrogate, seen = make_target("dcgan"), []
    plain = type(surrogate).step

    def spy(self, learner, batch):
        seen.append((len(batch.real), batch.fakes, len(batch.contrast), batch.generator_learns))
        return plain(self, learner, batch)

    monkeypatch.setattr(type(surrogate), "step", spy)
    spec = {"name": "local_gan", "known": 20, "share": share, "batch_size": batch_size, "steps": [6], "generated": 20}
    attack = ATTACKS.choose({**spec, "surrogate": SURROGATES["dcgan"]}).build()
    known = Knowledge(*(floats(make_images(3, seed=seed)) for seed in (1, 2)))
    attack(Snapshot(make_target("dcgan"), Streams(1)), floats(make_images(5)), known, Streams(2))
    assert len(seen) == 6
    for real, fakes, contrast, generator_learns in seen:
        assert min(real, fakes, contrast) >= 1
        assert fakes + contrast == batch_size
        assert generator_learns


# 2. Ties resolved by array position with members first.


@pytest.mark.parametrize("members_first", [True, False])
@pytest.mark.parametrize(("n", "m"), [(3, 7), (50, 50), (70, 1000), (1, 1)])
def test_mistake_2_constant_scores_are_worth_exactly_nothing_whatever_the_order(n, m, members_first):
    member = np.repeat([members_first, not members_first], [n, m] if members_first else [m, n])
    result = judge(np.full(n + m, 0.1, dtype=np.float32), member)
    assert result.auc == 0.5
    assert result.accuracy_top_n == pytest.approx(n / (n + m), rel=1e-15)
    assert result.accuracy_top_n == pytest.approx(result.baseline_top_n, rel=1e-15)
    assert result.advantage == pytest.approx(0, abs=1e-15)
    assert result.balanced_accuracy == pytest.approx(0.5, abs=1e-15)
    assert result.tpr_at_1pct_fpr in (None, 0.0)
    assert [points.tolist() for points in roc(np.zeros(n + m), member)] == [[0, 1], [0, 1]]


@pytest.mark.parametrize("members_first", [True, False])
def test_mistake_2_ties_among_other_scores_count_half_whatever_the_order(members_first):
    # 10 members and 10 others tie at the top; then 10 others, then 5 members.
    score = np.repeat([3.0, 3.0, 2.0, 1.0], [10, 10, 10, 5]).astype(np.float32)
    member = np.repeat([True, False, False, True], [10, 10, 10, 5])
    order = np.lexsort((~member if members_first else member, -score))
    result = judge(score[order], member[order])
    assert result.auc == pytest.approx((10 * (0.5 * 10 + 10) + 5 * 0) / (15 * 20))
    assert result.accuracy_top_n == pytest.approx(15 * 0.5 / 15)


# 3. exp(-distance^2) underflowing to 0 and creating ties.


@pytest.mark.parametrize("name", DISTANCE_ATTACKS)
@pytest.mark.parametrize("size", [20, 64])
def test_mistake_3_far_queries_are_ranked_and_not_tied(name, size):
    # exp(-distance^2) is 0 for all of these, and their order is lost.
    target = Replay(-torch.ones(1, 3, size, size), 1.0)
    queries = torch.linspace(0.5, 1, 100)[:, None, None, None].expand(100, 3, size, size).contiguous()
    attack = ATTACKS.choose({"name": name, "generated": 10}).build()
    scores = attack(Snapshot(target, Streams(3)), queries, Knowledge(), Streams(4)).scores.values[0]
    assert float(torch.exp(-scores.double().square()).max()) == 0
    assert bool((scores.diff() < 0).all())


def test_mistake_3_very_negative_scores_keep_their_order():
    score = np.array([-1000.0, -1001.0, -1002.0, -1003.0], dtype=np.float32)
    assert judge(score, np.array([True, True, False, False])).auc == 1.0


# 4. TPR read at the nearest or interpolated FPR.


def test_mistake_4_tpr_at_fpr_is_never_interpolated_and_never_beyond_its_fpr():
    # One tie of 50 non-members and all members is a single step from (0, 0) to (5 %, 1).
    outside = np.concatenate([np.full(50, 1.0), np.zeros(950)]).astype(np.float32)
    inside = np.ones(40, dtype=np.float32)
    assert tpr_at_fpr(inside, outside, 0.01) == 0.0
    assert tpr_at_fpr(inside, outside, 0.04999) == 0.0
    assert tpr_at_fpr(inside, outside, 0.05) == 1.0


def test_mistake_4_a_nearer_threshold_beyond_the_fpr_is_not_taken():
    # FPRs that exist: 0.5 % with TPR 1/4, and 1.1 %, nearer to 1 %, with TPR 1.
    outside = np.concatenate([np.full(5, 3.0), np.full(6, 2.0), np.zeros(989)]).astype(np.float32)
    inside = np.array([3.0, 2.0, 2.0, 2.0], dtype=np.float32)
    score, member = np.concatenate([inside, outside]), np.repeat([True, False], [4, 1000])
    assert judge(score, member).tpr_at_1pct_fpr == 0.25


# 5. Surrogates left in evaluation mode after the first epoch; batch-norm statistics of members leaking into scores.


@every_surrogate
def test_mistake_5_a_surrogate_that_was_evaluated_goes_on_learning_as_one_that_was_not(
    make_target, make_images, surrogate
):
    # Batch norm tells: in evaluation mode its statistics would no longer move, and the gradient would be another.
    snapshot, queries = Snapshot(make_target("dcgan"), Streams(1)), floats(make_images(12, seed=2))

    def run(steps):
        spec = {"name": "local_gan", "generated": 40, "batch_size": 8, "steps": steps}
        attack = ATTACKS.choose({**spec, "surrogate": SURROGATES[surrogate]}).build()
        return attack(snapshot, queries, Knowledge(), Streams(3)).scores

    nested = run([10, 15, 20])
    assert nested.levels == (10, 15, 20)
    for row, level in zip(nested.values, nested.levels, strict=True):
        assert torch.equal(row, run([level]).values[0])
    assert not torch.equal(nested.values[0], nested.values[2])


@every_surrogate
def test_mistake_5_a_score_does_not_take_up_statistics_of_the_queries(make_target, make_images, surrogate):
    # The same queries among their like, alone, and among white images: one score.
    snapshot, queries = Snapshot(make_target("dcgan"), Streams(1)), floats(make_images(12, seed=2))
    spec = {"name": "local_gan", "generated": 40, "batch_size": 8, "steps": [5, 20]}
    attack = ATTACKS.choose({**spec, "surrogate": SURROGATES[surrogate]}).build()

    def run(x):
        return attack(snapshot, x, Knowledge(), Streams(3)).scores.values

    scores = run(queries)
    torch.testing.assert_close(run(queries[:1]), scores[:, :1], atol=1e-5, rtol=0)
    among_others = run(torch.cat([queries, torch.ones(100, 1, 8, 8)]))[:, :12]
    torch.testing.assert_close(among_others, scores, atol=1e-5, rtol=0)


@pytest.mark.parametrize("target", TARGETS.names())
def test_mistake_5_a_target_that_was_attacked_goes_on_learning_as_one_that_was_not(make_trainer, make_images, target):
    norm = {"norm": "batch"} if target in ("dcgan", "vae_gan") else {}
    weights = []
    for attacked in (False, True):
        trainer = make_trainer(name=target, **norm)
        trainer.run_to(3)
        if attacked:
            snapshot = Snapshot(trainer.target, Streams(1))
            nearest = {"name": "euclidean", "generated": 64}
            for attack in ("white_box", nearest) if target in ADVERSARIAL else (nearest,):
                ATTACKS.choose(attack).build()(snapshot, floats(make_images(9)), Knowledge(), Streams(2))
        trainer.run_to(6)
        weights.append(trainer.target.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


# 6. Thresholds or attack networks fitted on the same labels they are evaluated on.


@pytest.mark.parametrize("split", [name for name in SPLITS.names() if name != "given"])  # test_given_folders.py has it
@pytest.mark.parametrize("copies", [0.0, 0.1])
def test_mistake_6_whoever_an_attack_is_fitted_on_is_never_judged(make_pool, split, copies):
    # Also not as a copy, nor as another record of the same person.
    pool = make_pool(600, largest_group=4 if copies else 1, copies=copies)
    settings = {"reference": 60, "unseen": 40, "known": 15}
    settings |= {"panel": 60, "extra_non_members": 50} if split == "panel" else {}
    built = SPLITS.choose({"name": split, **settings}).build(pool, (170, 200), 1)
    fitted_on = [built.reference, built.unseen, built.known_members, built.known_non_members]
    assert all(len(part) > 8 for part in fitted_on)
    aside = np.concatenate(fitted_on)
    assert len(set(aside)) == len(aside)
    for replicate in range(3):
        for train_size in (170, 200):
            queries = built.membership(replicate, train_size).queries
            assert not set(pool.units[aside]) & set(pool.units[queries])
            assert not set(aside) & set(queries)


@pytest.mark.parametrize("name", ATTACKS.names())
def test_mistake_6_no_attack_is_told_who_is_a_member(name):
    parameters = inspect.signature(ATTACKS.find(name).run).parameters
    assert list(parameters) == ["self", "view", "queries", "knowledge", "rng"]
    assert set(vars(Knowledge())) == {"known_members", "known_non_members", "reference", "extractor", "prepared"}
