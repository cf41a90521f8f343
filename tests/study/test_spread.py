from itertools import combinations

import numpy as np
import pytest

from mia_core.metrics.influence import aucs
from study.design.work import missing
from study.plan import spread
from study.run.runner import Runner
from study.store import read

QUICK = (
    "replicates=3",
    "factors.train_size=[40]",
    "factors.defense=[none, {name: dropout, rate: 0.5}]",
    "attacks=[{name: euclidean, generated: 16}, white_box]",
    "audit.attack=white_box",
    "quality.measures=[]",
)


def test_a_spread_is_pooled_over_all_pairs_of_cells():
    random = np.random.default_rng(1)
    member = random.random((4, 60)) < 0.5
    scores = random.normal(size=60) + random.normal(size=(5, 4, 60)) + member
    cells = aucs(scores, np.broadcast_to(member, scores.shape))
    found = spread.pooled(cells)
    squares = [np.var(cells.auc[a] - cells.auc[b], ddof=1) for a, b in combinations(range(5), 2)]
    assert found.sd == pytest.approx(np.mean(squares) ** 0.5)
    assert found.units == 60
    assert spread.pooled(cells[:, :2]) is None and spread.pooled(cells[:1]) is None


def test_pairs_of_cells_whose_records_leak_unequally_differ_between_records():
    # In one of the cells half of the records gain 4, in the other none do.
    random = np.random.default_rng(2)
    member = random.random((6, 400)) < 0.5
    gain = np.where(np.arange(400) < 200, 4.0, 0.0)
    noise = random.normal(size=(2, 6, 400))
    scores = np.stack([noise[0] + gain * member, noise[1]])
    unequal = spread.pooled(aucs(scores, np.stack([member, member])))
    alike = spread.pooled(aucs(noise, np.stack([member, member])))
    assert unequal.between_records > 10 * alike.between_records
    assert unequal.between_records > 0.005**2


@pytest.mark.slow
def test_a_studys_own_spread_is_of_judged_records_under_the_attack_that_audits(make_design, store):
    design = make_design(*QUICK)
    assert spread.own_spread(design, store) is None
    for works in missing(design, store).values():
        if works[0].trial.role == "study":
            list(Runner(design, store).run(works))
    found = spread.own_spread(design, store)
    assert found.units == len(design.split.panel) == 40
    store.publish(design.hash, design.spec.resolved, [], {})
    values = []
    for trial in design.trials:
        scores = read(store.folder.parent, "small", "scores", all=True)
        part = scores[(scores["trial_id"] == trial.trial_id) & (scores["attack_id"] == trial.attacks[-1].attack_id)]
        part = part[part["judged"]]
        values.append(aucs(part["score"].to_numpy(), part["member"].to_numpy()).auc)
    auc = np.reshape(values, (3, 4)).T
    squares = [np.var(auc[a] - auc[b], ddof=1) for a, b in combinations(range(4), 2)]
    assert found.sd == pytest.approx(np.mean(squares) ** 0.5)
    assert spread.own_spread(make_design(*QUICK, "replicates=2"), store) is None


def test_the_family_is_what_the_report_corrects_over(make_design, store):
    assert spread.family(make_design(), store) == 2 * 2 + 1 + 2
    assert spread.family(make_design("contrasts=[train_size]"), store) == 1
    targets = "factors.target=[{name: dcgan, width: 4, latent: 8}, {name: began, width: 4, latent: 8}]"
    # BEGAN does not fit DP-SGD, so that arm is compared under DCGAN alone.
    assert spread.family(make_design("target=~", targets, "attacks=[white_box]"), store) == (2 * 2 + 1 + 2) + (
        2 + 1 + 2
    )
