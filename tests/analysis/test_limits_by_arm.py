"""A study's policy answered per arm, on studies of known truth; and as the first line of its report."""

import json
import re
from dataclasses import replace
from html import unescape

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from analysis.report.building import build
from analysis.report.limits import first_line
from analysis.stats.baselines import verdicts
from analysis.stats.limits_by_arm import decisions_of_arms, limits_by_arm
from analysis.study_data import ARM, load
from mia_core.errors import Refused
from mia_core.metrics.decisions import Decision
from study.spec.study_file import parse
from tests.analysis.conftest import LEAN
from tests.analysis.one_release import POLICY
from tests.analysis.synthetic import panel_study, true_auc, write_store
from tests.analysis.test_report_sources import Traced
from tests.small import small_spec

NONE = pd.DataFrame({"ok": pd.Series(dtype=bool)})
"""No control."""
HOLDS, EXCEEDED, OPEN = Decision.NOT_EXCEEDED, Decision.EXCEEDED, Decision.CANNOT_BE_SHOWN


def policy(**limits):
    return {**POLICY.to_dict(), "limits": {**POLICY.limits.to_dict(), **limits}}


def cells(*arms):
    return pd.MultiIndex.from_product([arms, [100], [10]], names=(ARM, "train_size", "epochs"))


def made(truth, seed=0, arms=("none",), limits=None, records=400, replicates=8, **settings):
    return panel_study(
        np.random.default_rng(seed), truth, replicates, cells(*arms), resolved={"policy": policy(**(limits or {}))},
        records=records, **settings,
    )  # fmt: skip


def auc_of(table):
    return table[table["limit"] == "auc"].set_index("arm")["decision"].to_dict()


def test_arms_are_answered_apart_and_by_all_limits():
    data = made((2.0, 0.0), arms=("none", "dropout"), limits={"epsilon": 8.0, "epsilon_unit": "record"})
    table = limits_by_arm(data, NONE)
    assert list(table["limit"]) == 2 * ["auc", "tpr_at_1pct_fpr", "copies", "worst_person", "epsilon"]
    assert auc_of(table) == {"none": EXCEEDED, "dropout": HOLDS}
    by = table.set_index(["arm", "limit"])
    assert by.loc[("dropout", "worst_person"), "decision"] == HOLDS
    assert 0.4 < by.loc[("dropout", "worst_person"), "estimate"] < 0.7 < by.loc[("none", "worst_person"), "estimate"]
    assert by.loc[("none", "copies"), "reason"] == "not measured"
    assert by.loc[("none", "epsilon"), "reason"] == "the arm has no guarantee"
    assert decisions_of_arms(table) == {"none": EXCEEDED, "dropout": OPEN}
    said = "".join(first_line(table))
    assert said == "By the study's policy: none: exceeded; dropout: cannot be shown."
    assert (table["low"].dropna() <= table["high"].dropna()).all()


def test_a_guarantee_is_compared_per_unit():
    for unit, decision in (("record", HOLDS), ("person", OPEN)):
        data = made((0.0, 0.0), arms=("none", "dp_sgd 2"), limits={"epsilon": 4.0, "epsilon_unit": unit})
        by = limits_by_arm(data, NONE).set_index(["arm", "limit"])
        assert by.loc[("dp_sgd 2", "epsilon"), "decision"] == decision


@pytest.mark.parametrize(
    ("shares", "decision"), [((0.01,) * 8, HOLDS), ((0.2,) * 8, EXCEEDED), ((0.0, 0.06) * 4, OPEN)]
)
def test_copies_count_beyond_the_false_copy_rate(monkeypatch, shares, decision):
    data = made((0.0,))
    copies = data.wide["replicate"].map(dict(enumerate(shares)))
    data = replace(data, wide=data.wide.assign(copies_pixels_members=copies))
    about = {"alpha": 0.01, "unseen": 999, "unseen_persons": 999, "samples": 2000, "neighbors": 10}
    monkeypatch.setattr("analysis.stats.limits_by_arm.settings_of_copies", lambda data: {"pixels": about})
    row = limits_by_arm(data, NONE).set_index("limit").loc["copies"]
    assert row["decision"] == decision and row["by"] == "copies in pixels"
    assert row["estimate"] == pytest.approx(max(0, np.mean(shares) - 0.01))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"controls": pd.DataFrame({"control": ["blind"], "verdict": ["it finds"], "ok": [False]})},
         "blind failed: it finds"),
        ({"missing": 3}, "3 trials of the design are missing"), ({"replicates": 4}, "takes 5 replicates"),
    ],
)  # fmt: skip
def test_what_keeps_everything_from_being_answered_is_named(change, words):
    data = made((2.0,), replicates=change.get("replicates", 8))
    table = limits_by_arm(data, change.get("controls", NONE), change.get("missing", 0))
    assert set(table["decision"]) == {OPEN} and table["reason"].str.contains(words).all()


def test_without_a_policy_there_is_no_answer():
    assert limits_by_arm(panel_study(np.random.default_rng(0), (1.0,), 5, cells("none")), NONE).empty


def decided(gain, limit, studies=60):
    found = [auc_of(limits_by_arm(made((gain,), seed, limits={"auc": limit}), NONE))["none"] for seed in range(studies)]
    return {one: found.count(one) for one in Decision}


@pytest.mark.slow
def test_a_mean_auc_above_its_limit_is_hardly_ever_said_not_to_be():
    gain, studies = 0.5, 60
    truth = true_auc(gain)
    assert decided(gain, truth - 0.05)[HOLDS] == 0 and decided(gain, truth + 0.05)[HOLDS] >= 0.9 * studies
    at = decided(gain, truth)
    assert max(at[HOLDS], at[EXCEEDED]) <= int(binom.isf(0.01, studies, 0.06))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    lean = [one for one in LEAN if not one.startswith(("attacks", "controls"))]
    overrides = ("replicates=5", *lean, f"policy={json.dumps(policy())}")
    uri = write_store(tmp_path_factory.mktemp("made") / "results", lambda trial: 0.0, overrides=overrides)
    return load(uri), build(uri).html()


def test_a_report_begins_with_the_answer_to_its_policy(page):
    data, html = page
    first = unescape(re.sub(r"<[^>]+>", "", re.search(r"</h2>\s*<p>(.*?)</p>", html, re.S)[1]))
    table = limits_by_arm(data, verdicts(data))
    assert first == "".join(first_line(table)) and first.startswith("By the study's policy: none: ")
    told = re.search(r'<section aria-labelledby="policy">(.*?)</section>', html, re.S)[1]
    assert "A. Officer" in told and "A rare disease" in told
    assert not [row for row in Traced(html).bare if "policy" in str(row)]


def test_a_policy_of_a_study_is_no_part_of_ids_and_read_strictly():
    plain, stated = small_spec(), small_spec(f"policy={json.dumps(policy())}")
    assert "policy" not in plain.resolved and stated.resolved["policy"] == policy()
    assert {**stated.resolved, "policy": None} == {**plain.resolved, "policy": None}
    assert parse(stated.resolved).resolved == stated.resolved
    with pytest.raises(Refused, match=r"policy\.limits.*AUC alone"):
        small_spec("policy={limits: {auc: 0.6}, name: a, date: 2026-01-01, reasons: b}")
