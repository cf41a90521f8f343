"""The evidence on a real release that was run, and what its page and JSON make of it."""

import json
import re
import stat

import numpy as np
import pytest

from analysis.release.answers import answer
from analysis.release.reading_evidence import is_release, read_evidence
from analysis.release.writing_release import write, write_page
from mia_core.metrics.decisions import Decision
from mia_core.metrics.trial_interval import trial_intervals
from study.store import Store, read
from tests.analysis.one_release import POLICY
from tests.study.given_release import MEMBERS, SAMPLES, copied, made_once


@pytest.fixture(scope="module")
def made():
    folder, replayed = made_once()
    return Store(str(folder / "results"), "given"), replayed


@pytest.fixture(scope="module")
def found(made):
    return read_evidence(made[0])


def test_attacks_have_their_scores_by_person_and_levels_are_families(made, found):
    store, _ = made
    labels = {attack.label: attack for attack in found.attacks}
    rows = read(store.root, store.study, "attacks")
    own = rows[rows["attack"].isin(labels) & rows["auc"].notna()].drop_duplicates("attack").set_index("attack")
    assert set(labels) >= {"euclidean_generated50", "euclidean_generated150", "domias"}
    for label, attack in labels.items():
        auc, low, high = trial_intervals(attack.score, attack.member, attack.persons)
        assert (auc, low, high) == pytest.approx(tuple(own.loc[label, ["auc", "auc_low", "auc_high"]]), abs=1e-6)
        assert attack.uses == {"samples"} and attack.persons is not None
    assert labels["euclidean_generated50"].family == labels["euclidean_generated150"].family
    assert {attack.label for attack in found.full} == set(labels) - {"euclidean_generated50"}
    assert any(attack.fitted for attack in found.attacks)
    assert "latent" in found.skipped and not found.uncovered


def test_copies_controls_and_numbers_are_those_of_the_store(made, found):
    _, replayed = made
    assert found.copies.equal == replayed and found.copies.samples == SAMPLES
    assert {control.name for control in found.controls} >= {
        "blind",
        "blind_files",
        "copycat",
        "member_only",
        "held_out",
    }
    blind = found.control("blind")[0]
    assert 0 < blind.auc < 1 and blind.error > 0 and blind.smallest > 0.5 and blind.standing
    assert found.given["members"] <= MEMBERS and found.given["holdout"] == "random"
    assert re.fullmatch("[0-9a-f]{64}", found.released["sha256"]) and found.digest and found.versions
    assert found.released["recipient"] == "a colleague" and found.guarantee is None


def test_a_sampler_that_replays_members_exceeds_limits_and_names_no_file(made, tmp_path, capsys):
    store, replayed = made
    assert is_release(store)
    assert write(store, POLICY, tmp_path) is Decision.EXCEEDED
    values = json.loads((tmp_path / "release.json").read_text())
    assert values["decision"] == "exceeded" and values["copies"]["equal"] == replayed
    named = {"copies": "exceeded"}
    assert {one["name"]: one["decision"] for one in values["limits"]}.items() >= named.items()
    private = tmp_path / "copied_records.json"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    pairs = json.loads(private.read_text())["copied"]
    assert {pair["file"] for pair in pairs} and all("members" in pair["file"] for pair in pairs)
    for name in ("release.html", "release.json"):
        text = (tmp_path / name).read_text()
        assert not re.search(r"(members|samples|others)\d{3}", text) and str(store.root) not in text
    assert capsys.readouterr().out.startswith("A limit is exceeded.")


def test_without_a_policy_the_page_of_the_store_says_that_no_limits_were_given(made, tmp_path):
    write_page(made[0], tmp_path / "page.html")
    assert "<p>No limits were given" in (tmp_path / "page.html").read_text()


def test_few_records_leave_blind_open_and_that_is_a_reason(found):
    reasons = " ".join(reason.words for reason in answer(found, POLICY).gates)
    assert "do not differ is not shown" in reasons
    assert np.isfinite([one.auc.high for one in answer(found, POLICY).measured]).all()


def test_scores_that_are_gone_are_damage(tmp_path):
    copied(tmp_path)
    store = Store(str(tmp_path / "results"), "given")
    for file in (tmp_path / "results" / "given" / "scores").glob("*.parquet"):
        file.write_bytes(b"damaged")
    with pytest.raises(Exception, match="scores"):
        read_evidence(store)
