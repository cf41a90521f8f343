import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import kstest, norm

from mia_core.attacks import Discriminative, Euclidean, WhiteBox
from mia_core.attacks.attack import Scores
from mia_core.data.panel_split import Panel
from mia_core.metrics.leakage import judge
from mia_core.streams import Streams
from mia_core.training import Trainer
from study.design.design_rows import design_rows
from study.design.work import missing, missing_of
from study.run.runner import Runner
from study.store import read
from study.store.old_rows import JUDGED
from study.store.roles import BLIND, COPYCAT, MEMBER_ONLY, NULL
from study.verdicts import controls
from study.verdicts.controls import combine, holm, lines, permuted_aucs, replayed_auc, replayed_aucs, verdicts
from tests.commands import mia_study

main = mia_study("controls")

QUICK = (
    "replicates=3",
    "factors.train_size=[40]",
    "factors.defense=[none]",
    "factors.epochs=[1]",
    "attacks=[white_box, {name: euclidean, generated: 64}]",
    "quality.measures=[]",
    "split.panel=60",
)


def run(design, store, roles=("blind", "null", "copycat")):
    """Run the controls, and publish the design; their verdicts."""
    runner = Runner(design, store)
    for trials in design.trajectories.values():
        works = missing_of(trials, store)
        if works and trials[0].role in roles:
            assert not [item.failed for item in runner.run(works) if item.failed]
    store.publish(design.hash, design.spec.resolved, design_rows(design), {})
    return verdicts(store.folder.parent, store.study)


def ok(table):
    """Which controls passed, by name."""
    return table.groupby("control")["ok"].all().to_dict()


def test_a_sound_study_passes_all_controls(make_design, store):
    table = run(make_design(*QUICK), store)
    assert ok(table) == {"blind": True, "null": True, "copycat": True}
    assert list(table["attack"]) == ["blind", "white_box", "euclidean", "copycat_euclidean"]
    assert list(table["replicates"]) == [3, 1, 1, 1]
    null = table[table["control"] == "null"]
    assert (abs(null["auc"] - 0.5) < 4 * null["error"]).all()
    assert (null["standing"] == "inconclusive").all()
    assert null["verdict"].str.startswith("at most 0.").all()
    assert list(table["standing"][table["control"] == "copycat"]) == ["shown"]
    (blind,) = table[table["control"] == "blind"].to_dict("records")
    assert (blind["standing"] == "shown") == (blind["auc"] + 1.645 * blind["error"] <= 0.52)
    assert 0.03 < blind["error"] < 0.1
    assert [line.split(":")[0] for line in lines(table)] == ["blind", "null", "copycat"]


@pytest.mark.slow
def test_rows_in_the_store_say_what_a_control_is(make_design, store):
    design = make_design(*QUICK)
    run(design, store, ("study", "blind", "null", "copycat"))
    wide = read(store.folder.parent, "small", "wide").set_index("role")
    assert set(wide.loc["study", "auc"].index) == {"study"}
    blind, copycat = wide.loc["blind"].iloc[0], wide.loc["copycat"]
    assert (blind["access"], blind["target"], blind["epochs"], blind["steps"]) == ("NONE", "none", 0, 0)
    assert 0 < blind["p_value"] <= 1
    assert wide.loc["study", "p_value"].isna().all()
    assert (copycat["target"], copycat["released"], copycat["steps"]) == ("copycat", 200, 0)
    assert set(wide.loc["null", "target"]) == {"dcgan"}
    for row in wide.drop(index="study").to_dict("records"):
        scores = read(store.folder.parent, "small", "scores")
        part = scores[(scores["trial_id"] == row["trial_id"]) & (scores["attack_id"] == row["attack_id"])]
        of = part["judged"].to_numpy()
        assert judge(part["score"].to_numpy(), part["member"].to_numpy(bool), of).auc == row["auc"]
        assert np.array_equal(of, np.isin(part["query"], design.split.panel))
        assert np.array_equal(part["unit"], design.pool.units[part["query"]])
    assert set(read(store.folder.parent, "small", "quality")["trial_id"]) <= {t.trial_id for t in design.trials}


def test_controls_are_run_once_and_never_again(make_design, store):
    design = make_design(*QUICK)
    run(design, store)
    assert {trial.trial_id for works in missing(design, store).values() for trial in [works[0].trial]} == {
        trial.trial_id for trial in design.trials
    }
    more = make_design(*QUICK, "replicates=4")
    left = [works[0].trial for works in missing(more, store).values() if works[0].trial.role != "study"]
    assert [(trial.role, trial.replicate) for trial in left] == [("blind", 3)]


@pytest.mark.long
def test_a_target_trained_on_the_panel_in_place_of_a_null_is_caught(make_design, store, monkeypatch):
    monkeypatch.setattr(Panel, "null", Panel.membership)
    overfit = ("factors.epochs=[160]", "target.width=16", "attacks=[white_box]", "training.learning_rate=2e-3")
    table = run(make_design(*QUICK, *overfit), store)
    assert ok(table) == {"blind": True, "null": False, "copycat": True}
    assert table.loc[table["control"] == "null", "verdict"].item().startswith("LEAKS")


def test_an_attack_that_reads_membership_is_caught(make_design, store, monkeypatch):
    design = make_design(*QUICK)
    member = torch.from_numpy(design.split.membership(0, 40).member.copy())

    def leaky(self, view, queries, knowledge, rng):
        noise = torch.randn(len(queries), generator=rng.torch("noise"))
        return Scores(self.levels, (noise + 1.0 * member)[None])

    monkeypatch.setattr(WhiteBox, "run", leaky)
    table = run(design, store).set_index("attack")
    assert table.loc["white_box", "verdict"] == "LEAKS: fix before believing any attack"
    assert table["ok"].to_dict() == {"blind": True, "white_box": False, "euclidean": True, "copycat_euclidean": True}


def test_an_auc_below_one_half_is_no_alarm(make_design, store, monkeypatch):
    design = make_design(*QUICK)
    member = torch.from_numpy(design.split.membership(0, 40).member.copy())

    def inverted(self, view, queries, knowledge, rng):
        return Scores(self.levels, (torch.randn(len(queries), generator=rng.torch("noise")) - 2.0 * member)[None])

    monkeypatch.setattr(WhiteBox, "run", inverted)
    row = run(design, store).set_index("attack").loc["white_box"]
    assert row["auc"] < 0.2 and row["p"] > 0.99
    assert (row["standing"], row["verdict"], row["ok"]) == ("shown", "not above 0.5", True)


FITTED = (
    *QUICK,
    "replicates=2",
    "factors.epochs=[1, 2]",
    "split.known=12",
    "split.panel=56",
    "attacks=[white_box, {name: discriminative, real: members, known: 30, steps: [2, 4], surrogate: {name: dcgan, "
    "width: 4}}, {name: discriminative, known: 30, steps: [2], generated: 32, surrogate: {name: dcgan, width: 4}}]",
)


def of_role(design, role):
    return [trial for trial in design.controls if trial.role == role]


@pytest.mark.slow
def test_attacks_fitted_on_members_against_non_members_are_tried_on_members_alone(make_design, store):
    design = make_design(*FITTED)
    (trial,) = of_role(design, MEMBER_ONLY)
    assert not of_role(make_design(*QUICK), MEMBER_ONLY), "nothing is fitted there"
    assert [wanted.label for wanted in trial.attacks] == [f"discriminative_members30_steps{n}" for n in (2, 4)]
    of = trial.of
    assert of in design.trials and (of.replicate, of.epochs) == (0, 2)
    split = design.split
    judged, whole = design.membership(trial), design.membership(of)
    assert np.array_equal(judged.train, whole.train)
    assert set(judged.queries) == set(whole.queries[whole.member])
    assert abs(judged.member.sum() - len(judged.queries) / 2) <= 0.5
    members, others = split.known_halves(30)
    assert set(members) | set(others) == set(split.known_members) and not set(members) & set(others)
    table = run(design, store, ("study", "blind", "null", "copycat"))
    rows = table[table["control"] == MEMBER_ONLY]
    assert list(rows["attack"]) == [wanted.label for wanted in trial.attacks]
    assert (rows["expected"] == 0.5).all() and (rows["ok"] == True).all()  # noqa: E712
    wide = read(store.folder.parent, "small", "wide").set_index("role").loc[MEMBER_ONLY]
    assert (wide["queries"] == len(judged.queries)).all() and (wide["judging"] == JUDGED).all()
    assert set(wide["target"]) == {"dcgan"} and (wide["seconds_train"] == 0).all()
    assert not missing(design, store)


@pytest.mark.slow
def test_an_attack_that_knows_which_half_is_which_is_caught(make_design, store, monkeypatch):
    design = make_design(*FITTED)
    (trial,) = of_role(design, MEMBER_ONLY)
    member = torch.from_numpy(design.membership(trial).member.copy())
    run_attack = Discriminative.run

    def leaky(self, view, queries, knowledge, rng):
        scores = run_attack(self, view, queries, knowledge, rng)
        return scores if len(queries) != len(member) else Scores(self.levels, scores.values + 1e3 * member)

    monkeypatch.setattr(Discriminative, "run", leaky)
    table = run(design, store, ("study", "blind", "null", "copycat")).set_index("control")
    assert (table.loc[MEMBER_ONLY, "standing"] == "failed").all()
    assert ok(table.reset_index())[MEMBER_ONLY] is False
    assert "halves of the members apart" in table.loc[MEMBER_ONLY, "verdict"].iloc[0]


@pytest.mark.long
@pytest.mark.parametrize("keep", ["all", "none"])
def test_members_alone_are_judged_on_targets_that_were_trained_before(make_design, store, monkeypatch, keep):
    before = make_design(*FITTED, f"keep_targets={keep}", "controls.member_only=false")
    assert before.no_control == {MEMBER_ONLY: "switched off"}
    run(before, store, ("study", "blind", "null", "copycat"))
    assert not missing(before, store)
    design = make_design(*FITTED, f"keep_targets={keep}")
    (work,) = (work for works in missing(design, store).values() for work in works)
    assert work.trial.role == MEMBER_ONLY and not work.trains and not work.retrain
    trained, run_to = [], Trainer.run_to
    monkeypatch.setattr(Trainer, "run_to", lambda self, step: (trained.append(len(self.images)), run_to(self, step)))
    table = run(design, store, ("study",))
    assert max(trained) < 20, "surrogates of known records alone, no target of 40"
    assert not missing(design, store)
    assert MEMBER_ONLY in set(table["control"])


def test_a_control_that_is_switched_off_or_as_ever_changes_no_stored_spec(make_design):
    assert "member_only" not in make_design(*QUICK).spec.resolved["controls"]
    assert make_design(*QUICK, "controls.member_only=false").spec.resolved["controls"]["member_only"] is False


@pytest.mark.parametrize("chosen", ["panel", "extra_non_members"])
def test_a_split_whose_members_are_not_drawn_by_lot_is_caught(make_design, store, monkeypatch, chosen):
    design = make_design(*QUICK, "controls.nulls=0", "controls.copycat=false")
    brightness = design.pool.images.mean((1, 2, 3))
    original = Panel.membership

    def bright(self, replicate, train_size):
        found = original(self, replicate, train_size)
        bright = brightness[found.queries] + np.random.default_rng(replicate).normal(0, 8, len(found.queries))
        return type(found)(found.train, found.queries, bright > np.quantile(bright, 0.6))

    if chosen == "panel":
        monkeypatch.setattr(Panel, "membership", bright)
    else:  # coins are fair, but the extra non-members are other records than the panel's
        extra = np.isin(np.arange(len(design.pool)), design.split.extra_non_members)
        shifted = design.pool.images.copy()
        shifted[extra] = (shifted[extra] * 0.8).astype(np.uint8)
        object.__setattr__(design.pool, "images", shifted)
    table = run(design, store)
    assert ok(table)["blind"] is False
    assert "members differ from non-members without any target" in table["verdict"][0]


def test_a_broken_distance_attack_is_caught(make_design, store, monkeypatch):
    original = Euclidean.run

    def sees_a_tenth(self, view, queries, knowledge, rng):
        view.samples, samples = (lambda count: samples(count // 10)), view.samples
        return original(self, view, queries, knowledge, rng)

    monkeypatch.setattr(Euclidean, "run", sees_a_tenth)
    table = run(make_design(*QUICK, "controls.blind=false", "controls.nulls=0"), store)
    assert ok(table)["copycat"] is False
    assert "FAILS" in lines(table)[0]


def test_what_is_switched_off_or_does_not_fit_is_said(make_design, store, capsys):
    table = run(make_design(*QUICK, "controls={blind: false, nulls: false, copycat: false}"), store)
    assert list(table["verdict"]) == ["left out: switched off"] * 3
    assert table["ok"].isna().all()
    table = run(make_design(*QUICK, "factors.train_size=[40, 1570]", "controls.blind=false"), store, ())
    assert any(text.startswith("left out n=1570: needs 1570 records") for text in table["verdict"])
    assert "not run yet" in set(table["verdict"])
    assert main([str(store.folder)]) == 0
    assert "left out n=1570" in capsys.readouterr().out


def test_the_command_says_by_its_exit_code_whether_a_control_failed(make_design, store, monkeypatch, capsys):
    run(make_design(*QUICK, "controls.nulls=0"), store)
    assert main([str(store.folder)]) == 0
    with monkeypatch.context() as patched:
        patched.setattr(controls, "replayed_aucs", lambda *a: np.full(9999, 0.5))
        assert main([str(store.folder)]) == 1
    assert "FAILS" in capsys.readouterr().out
    assert main([str(store.folder.parent / "absent")]) == 2
    assert "no study here" in capsys.readouterr().err


# The statistics


def panel_labels(random, replicates=5, panel=140, extra=300):
    labels = np.zeros((panel + extra, replicates))
    labels[:panel] = random.integers(0, 2, (panel, replicates))
    return pd.DataFrame(labels)


def normal_p(scores, labels):
    """p of each replicate's rank sum by its normal approximation under permutation."""
    ranks = scores.argsort().argsort() - (len(scores) - 1) / 2
    centered = labels - labels.mean(0)
    return norm.sf(ranks @ centered / (ranks.var() * (centered**2).sum(0)) ** 0.5)


@pytest.mark.slow
def test_combined_p_keeps_its_rate_though_replicates_share_non_members():
    # Scores of records are fixed over replicates, as those of a blind classifier nearly are. Rates over 1000 studies
    # have a standard error of 0.7 %.
    random = np.random.default_rng(0)
    combined, naive = [], []
    for _ in range(1000):
        labels = panel_labels(random)
        p = normal_p(random.normal(size=440), labels.to_numpy())
        combined.append(combine(p, labels))
        naive.append(norm.sf(norm.isf(p).sum() / 5**0.5))
    assert kstest(combined, "uniform").pvalue > 1e-3
    assert abs(np.mean(np.array(combined) < 0.05) - 0.05) < 4 * 0.007
    assert np.mean(np.array(naive) < 0.05) > 0.1


def test_combining_independent_replicates_adds_up_their_evidence():
    labels = panel_labels(np.random.default_rng(0), extra=0)
    assert combine(np.full(5, 0.1), labels) < 0.01
    assert combine(np.array([0.3]), labels[[0]]) == pytest.approx(0.3)


def nulls(random, units, coins, replicates=2, trials=2):
    """Scores of null targets of one study, alike over trials, independent of membership."""
    member = [coins[:, replicate][units] for replicate in range(replicates)]
    common = random.normal(size=units.max() + 1)[units]
    return [
        pd.DataFrame({"query": np.arange(len(units)), "unit": units, "member": member[replicate],
                      "judged": True, "score": common + 0.5 * random.normal(size=len(units))})
        for replicate in range(replicates) for _ in range(trials)
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("largest", [1, 3])
def test_p_of_null_targets_is_uniform_over_coins_extras_and_groups(monkeypatch, largest):
    monkeypatch.setattr(controls, "PERMUTATIONS", 199)
    random, found = np.random.default_rng(1), []
    units = np.repeat(np.arange(60), np.random.default_rng(2).integers(1, largest + 1, 60))
    for study in range(300):
        coins = np.zeros((60, 2), bool)
        coins[random.permutation(60)[:30]] = random.integers(0, 2, (30, 2)).astype(bool)
        observed, *draws = permuted_aucs(nulls(random, units, coins), Streams(study)).mean(0)
        found.append((1 + (np.array(draws) >= observed).sum()) / 200)
    assert kstest(found, "uniform").pvalue > 1e-3
    assert abs(np.mean(np.array(found) <= 0.05) - 0.05) < 4 * (0.05 * 0.95 / 300) ** 0.5


def test_permuted_aucs_begin_with_the_observed_and_spread_as_rank_sums_do():
    random = np.random.default_rng(0)
    member = np.repeat([True, False], [30, 50])
    part = pd.DataFrame({"query": np.arange(80), "unit": np.arange(80), "member": member,
                         "score": random.normal(size=80).astype(np.float32)})  # fmt: skip
    (found,) = permuted_aucs([part], Streams(0))
    assert found[0] == pytest.approx(judge(part["score"].to_numpy(), member).auc)
    assert np.std(found[1:]) == pytest.approx((81 / (12 * 30 * 50)) ** 0.5, rel=0.03)


def test_copycat_draws_have_the_known_mean_and_the_p_its_rate():
    random = np.random.default_rng(0)
    for records, generated, members in ((100, 100, 40), (100, 500, 70), (280, 1400, 70)):
        draws = replayed_aucs(records, generated, members, random)
        error = draws.std() / len(draws) ** 0.5
        assert abs(draws.mean() - replayed_auc(records, generated)) < 4 * error
        assert replayed_auc(records, generated) == pytest.approx(1 - np.exp(-generated / records) / 2, abs=2e-3)


def control(name, auc, error, p_holm=0.5):
    return {"control": name, "auc": auc, "error": error, "p_holm": p_holm}


@pytest.mark.parametrize("name", [BLIND, NULL, MEMBER_ONLY])
def test_what_must_be_at_one_half_is_shown_only_where_its_limit_is_close(name):
    assert controls._standing(control(name, 0.5, 0.01)) == "shown"
    assert controls._standing(control(name, 0.5, 0.013)) == "inconclusive"
    assert controls._standing(control(name, 0.4, 0.05)) == "shown"
    assert controls._standing(control(name, 0.5, 0.001, p_holm=0.04)) == "failed"


def test_a_copycat_is_shown_to_work_where_its_auc_is_above_chance():
    assert controls._standing(control(COPYCAT, 0.99, 0.01)) == "shown"
    assert controls._standing(control(COPYCAT, 0.8, 0.2)) == "inconclusive"
    assert controls._standing(control(COPYCAT, 0.99, 0.01, p_holm=0.01)) == "failed"


@pytest.mark.slow
@pytest.mark.parametrize(("panel", "extra", "probability"), [(140, 300, 0.5), (440, 0, 0.159)])
def test_the_error_of_blind_is_the_deviation_of_its_mean_auc_over_coins(panel, extra, probability):
    # 2,000 studies: the deviation has a relative standard error of 1.6 %. One score a record in all replicates, as in
    # `combine`; the correlation of five labels that is not there is estimated as up to a few percent.
    random = np.random.default_rng(0)
    aucs, errors = [], []
    for _ in range(2000):
        labels = np.zeros((panel + extra, 5), bool)
        labels[:panel] = random.random((panel, 5)) < probability
        ranks = random.permutation(panel + extra) + 1.0
        inside = labels.sum(0)
        wins = ranks @ labels - inside * (inside + 1) / 2
        aucs.append((wins / (inside * (panel + extra - inside))).mean())
        errors.append(controls._error_of_labels(pd.DataFrame(labels.astype(float))))
    assert 0.95 < np.mean(errors) / np.std(aucs) < 1.15


def test_holm_is_the_textbooks():
    assert holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])
    assert holm(np.array([0.9, 0.6])) == pytest.approx([1, 1])
    assert len(holm(np.array([]))) == 0
