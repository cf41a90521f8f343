"""Answers to a release's limits: each gate that fails is named, and what it keeps from being said is not said."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.release.answers import _open, answer
from analysis.release.gates import coverage
from analysis.release.release_evidence import CopiesFound, Guarantee
from analysis.release.wording import sentences_of
from mia_core.attacks import ATTACKS, Attack, attacks_on
from mia_core.metrics.decisions import Bounded, Decision
from study.spec.policy import policy_of
from study.spec.release_study import default_attacks
from tests.analysis.one_release import POLICY, evidence, with_control

HOLDS, EXCEEDED, OPEN = Decision.NOT_EXCEEDED, Decision.EXCEEDED, Decision.CANNOT_BE_SHOWN
LEAKS = (("euclidean", 0.75), ("domias", 0.6))


def limits_of(found):
    return {one.name: one.decision for one in found.answers}


def words(found):
    return " ".join(reason.words for reason in found.reasons)


def with_limits(**limits):
    return policy_of({**POLICY.to_dict(), "limits": {**POLICY.limits.to_dict(), **limits}})


@pytest.fixture(scope="module")
def sound():
    return evidence()


@pytest.fixture(scope="module")
def leaking():
    return evidence(LEAKS)


def test_every_gate_holds_and_every_bound_is_below_its_limit(sound):
    found = answer(sound, POLICY)
    assert found.decision is HOLDS and not found.reasons
    assert limits_of(found) == dict.fromkeys(("auc", "tpr_at_1pct_fpr", "copies", "worst_person"), HOLDS)


def test_a_lower_bound_above_its_limit_exceeds_it_and_the_policy(leaking):
    found = answer(leaking, POLICY)
    assert found.decision is EXCEEDED
    assert limits_of(found) == {"auc": EXCEEDED, "tpr_at_1pct_fpr": OPEN, "copies": HOLDS, "worst_person": OPEN}
    assert "TPR at 1 % FPR: euclidean may be at" in words(found)


def test_without_limits_nothing_can_be_shown(sound, leaking):
    for of in (sound, leaking):
        found = answer(of, None)
        assert found.decision is OPEN and all(one.limit is None for one in found.answers)
        assert all(one.values for one in found.answers)


@pytest.mark.parametrize(
    ("change", "said", "both"),
    [
        ({"given": {"holdout": "other"}}, "not stated to have been drawn at random", True),
        ({"controls": with_control("blind", standing="failed", auc=0.58, p=0.001)}, "records differ", True),
        ({"controls": with_control("blind_files", standing="failed", auc=0.58, p=0.001)}, "files differ", True),
        ({"controls": with_control("blind", auc=0.535)}, "AUC of at most 0.556", False),
        ({"controls": with_control("blind_files", error=0.03, smallest=0.575)}, "finds an AUC from 0.575 on", False),
        ({"controls": with_control("blind", standing=None, auc=None, error=None, words="not run yet")},
         "not run yet", False),
        ({"controls": with_control("blind_files", standing=None, auc=None, error=None, words="switched off")},
         "blind_files was not run: switched off", False),
        ({"controls": with_control("member_only", standing="failed", auc=0.7)}, "member_only failed", True),
        ({"controls": with_control("held_out", standing="failed", auc=0.7)}, "held_out failed", True),
        ({"controls": with_control("copycat", standing="failed", auc=0.6)}, "copycat failed", True),
        ({"controls": with_control("copycat", standing="inconclusive")}, "is not shown (copycat_euclidean)", False),
        ({"controls": ()}, "control copycat was not run", False),
        ({"released": {"offers": ["samples", "denoise"]}}, "gives away `denoise`, and no attack", False),
    ],
)  # fmt: skip
def test_each_gate_keeps_not_exceeded_from_being_said_and_some_also_exceeded(sound, leaking, change, said, both):
    for of, decision in ((sound, HOLDS), (leaking, EXCEEDED)):
        values = {
            name: {**getattr(of, name), **value} if isinstance(value, dict) else value for name, value in change.items()
        }
        found = answer(replace(of, **values), POLICY)
        assert said in words(found)
        assert limits_of(found)["auc"] is (OPEN if both or decision is HOLDS else EXCEEDED)
        assert found.decision is not HOLDS
        assert all(reason.remedy for reason in found.reasons)


def test_records_that_are_no_files_need_no_blind_classifier_of_files(sound):
    controls = with_control("blind_files", standing=None, auc=None, error=None, words="no files: records are arrays")
    assert answer(replace(sound, controls=controls), POLICY).decision is HOLDS


def test_a_study_without_fitted_attacks_needs_no_member_only_split():
    of = evidence((("euclidean", 0.52), ("domias", 0.52)))
    controls = tuple(one for one in of.controls if one.name != "member_only")
    assert answer(replace(of, controls=controls), POLICY).decision is HOLDS
    fitted = replace(evidence(), controls=controls)
    assert "control member_only was not run" in words(answer(fitted, POLICY))


@pytest.mark.parametrize(
    ("copies", "change", "decision"),
    [
        (CopiesFound(5000, 600, 0, 0.01, 999), {}, EXCEEDED), (CopiesFound(5000, 60, 0, 0.01, 999), {}, HOLDS),
        (CopiesFound(5000, 130, 0, 0.01, 999), {}, OPEN), (CopiesFound(5000, None, 0), {}, OPEN),
        (CopiesFound(5000, 600, 0, 0.01, 999), {"holdout": "other"}, OPEN), (None, {}, OPEN),
        # What equals a member is a copy, however the non-members were chosen.
        (CopiesFound(5000, 600, 500, 0.01, 999), {"holdout": "other"}, EXCEEDED),
        (CopiesFound(5000, None, 500), {"holdout": "other"}, EXCEEDED),
    ],
)  # fmt: skip
def test_copies_are_judged_beyond_chance_and_equal_ones_always(sound, copies, change, decision):
    of = replace(sound, copies=copies, given={**sound.given, **change})
    found = answer(of, POLICY)
    assert limits_of(found)["copies"] is decision
    assert (found.decision is EXCEEDED) == (decision is EXCEEDED)


@pytest.mark.parametrize(
    ("stated", "unit", "decision"),
    [
        (None, "person", OPEN), (Guarantee(4.0, 1e-5, "person"), "person", HOLDS),
        (Guarantee(9.0, 1e-5, "person"), "person", EXCEEDED), (Guarantee(4.0, 1e-5, "record"), "person", OPEN),
        (Guarantee(4.0, 1e-5, "person"), "record", HOLDS), (Guarantee(4.0, 1e-5, "record"), "record", HOLDS),
    ],
)  # fmt: skip
def test_an_epsilon_is_compared_per_unit(sound, stated, unit, decision):
    policy = with_limits(epsilon=8.0, epsilon_unit=unit)
    found = answer(replace(sound, guarantee=stated), policy)
    assert limits_of(found)["epsilon"] is decision and found.decision is decision


def test_an_attack_below_one_half_by_more_than_chance_is_no_good_news():
    of = evidence((("euclidean", 0.4), ("domias", 0.5)))
    found = answer(of, POLICY)
    assert "non-members look more like members" in words(found) and found.decision is OPEN


def test_limits_are_compared_with_the_largest_number_of_samples():
    of = evidence(numbers=(100, 1000, 5000))
    found = answer(of, POLICY)
    assert [one.attack.label for one in found.measured] == ["euclidean_generated5000", "domias", "local_gan_known10"]


def test_lower_bounds_are_corrected_for_the_number_of_attacks_and_upper_bounds_are_not(sound):
    many = answer(sound, POLICY).measured[0].auc
    few = answer(replace(sound, attacks=sound.attacks[:1]), POLICY).measured[0].auc
    assert few.high == many.high and few.low > many.low


def test_fewer_than_20_member_persons_cannot_show_the_worst(sound):
    part = np.r_[np.arange(19), np.arange(1000, 2000)]
    attacks = [
        replace(one, score=one.score[part], member=one.member[part], unit=one.unit[part]) for one in sound.attacks
    ]
    found = answer(replace(sound, attacks=attacks), POLICY)
    assert limits_of(found)["worst_person"] is OPEN and "fewer than 20 member persons" in words(found)


def test_what_would_settle_a_limit_is_said_once_a_limit_in_records_and_not_attack_by_attack(leaking):
    found = answer(leaking, with_limits(tpr_at_1pct_fpr=0.08, worst_person=0.9))
    assert found.decision is EXCEEDED
    still = [one for one in found.answers if one.decision is OPEN]
    assert still and all(len(one.reasons) == 1 for one in still)
    remedies = [reason.remedy for reason in found.reasons]
    assert len(set(remedies)) == len(remedies)
    assert all("times as many records (1,000 non-members are judged now)" in remedy for remedy in remedies), remedies
    assert all("or a release that leaks less" in remedy for remedy in remedies)


@pytest.mark.parametrize(
    ("estimate", "low", "high", "said"),
    [
        (0.58, 0.54, 0.62, "About 4 times as many records (1,000 non-members are judged now) would show that the limit "
         "is not exceeded, if euclidean stays at 0.580"),
        (0.62, 0.58, 0.66, "About 4 times as many records (1,000 non-members are judged now) would show that the limit "
         "is exceeded, if euclidean stays at 0.620"),
        (0.6, 0.5, 0.7, "More than 100 times as many"),
        (0.5999, 0.5, 0.7, "More than 100 times as many"),
    ],
)  # fmt: skip
def test_as_many_records_settle_a_limit_as_bring_the_bound_to_it(sound, estimate, low, high, said):
    of = replace(sound, given={**sound.given, "judged_non_members": 1000})
    (reason,) = _open("auc", 0.6, [Bounded("euclidean", estimate, low, high), Bounded("domias", 0.5, 0.4, 0.55)], of)
    assert reason.remedy.startswith(said)
    assert "euclidean may be at" in reason.words and "domias" not in reason.words


def test_one_attack_above_its_limit_is_enough_to_settle_it_and_all_must_be_below(sound):
    near, far = Bounded("near", 0.61, 0.58, 0.64), Bounded("far", 0.65, 0.59, 0.71)
    assert "if far stays" in _open("auc", 0.6, [near, far], sound)[0].remedy
    near, far = Bounded("near", 0.59, 0.5, 0.64), Bounded("far", 0.5, 0.4, 0.61)
    assert "if near stays" in _open("auc", 0.6, [near, far], sound)[0].remedy


def test_without_limits_the_first_sentences_are_the_strongest_findings(leaking):
    told = sentences_of(answer(leaking, None), None)
    assert told[1].startswith("AUC of any attack: 0.7") and told[1].endswith(", by euclidean.")
    assert [sentence.partition(":")[0] for sentence in told[1:5]] == [
        "AUC of any attack", "TPR at 1 % FPR of any attack", "Share of samples that copy a member, beyond chance",
        "Worst persons",
    ]  # fmt: skip


def test_whether_there_is_an_attack_on_a_capability_is_asked_of_the_registry(sound, monkeypatch):
    class Made(Attack):
        name = "made"
        uses = frozenset({"encode"})

        def run(self, view, queries, knowledge, rng):
            raise AssertionError

    of = replace(sound, released={**sound.released, "offers": ["samples", "encode"]})
    others = attacks_on("encode")
    monkeypatch.setattr(ATTACKS, "_classes", {n: c for n, c in ATTACKS._classes.items() if n not in others})
    (reason,) = coverage(of)
    assert reason.words.endswith("no attack that uses it was tried: there is none here.")
    assert not any(item["name"] == "made" for item in default_attacks())
    ATTACKS.register(Made)  # in the copy of the registry
    (reason,) = coverage(of)
    assert reason.words.endswith("no attack that uses it was tried.") and "(made)" in reason.remedy
    assert {"name": "made"} in default_attacks()
