"""A release's page and its JSON: order, words that are never used, no name of a file, nothing from a network."""

import base64
import hashlib
import json
import re
import stat
from dataclasses import replace
from html import unescape

import pytest

from analysis.release.answers import answer
from analysis.release.release_evidence import Guarantee
from analysis.release.release_json import document, to_text
from analysis.release.release_page import page_of
from analysis.release.writing_release import write_evidence
from mia_core.metrics.decisions import Decision
from study.outcomes import CANNOT_BE_SHOWN, COMPLETE, EXCEEDED, code_of
from study.spec.policy import policy_of
from tests.analysis.one_release import POLICY, evidence, with_control

NEVER = ("anonymous", "anonymized", "safe", "compliant", "no risk", "may be released")
ORDER = (
    "released", "limits", "persons", "threats", "guarantee", "not-tried", "holdout", "changes", "review", "hashes",
    "signature", "attacks", "controls", "records", "policy",
)  # fmt: skip
CASES = {
    "holds": (evidence(numbers=(100, 1000, 5000)), POLICY),
    "exceeded": (
        evidence((("euclidean", 0.75), ("white_box", 0.9)), records=(1, 2, 3),
                 offers=("samples", "discriminate", "encode"), guarantee=Guarantee(8.0, 1e-5, "record")), POLICY,
    ),
    "no policy": (evidence(members=200, others=200, holdout="other"), None),
    "few": (
        replace(evidence(members=30, others=30, controls=with_control("blind", standing="failed", auc=0.9, p=0.01)),
                copies=None), POLICY,
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=CASES)
def case(request):
    found, policy = CASES[request.param]
    answers = answer(found, policy)
    return request.param, page_of(found, answers, policy).html(), document(found, answers, policy)


def text(html):
    return " ".join(unescape(re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.S)).split())


def test_sections_are_in_the_order_of_an_officers_questions(case):
    assert tuple(re.findall(r'<h2 id="([\w-]+)"', case[1])) == ("verdict", *ORDER)


def test_the_first_line_is_the_answer(case):
    name, page, values = case
    first = {
        "holds": "No limit is exceeded by the attacks tried.", "exceeded": "A limit is exceeded.",
        "no policy": "No limits were given", "few": "Whether the limits are exceeded cannot be shown.",
    }[name]  # fmt: skip
    assert re.search(r"</h2>\s*<p>([^<]+)</p>", page)[1].startswith(first)
    decision = {"holds": "not_exceeded", "exceeded": "exceeded"}.get(name, "cannot_be_shown")
    assert values["decision"] == decision


def test_words_that_say_too_much_are_never_used(case):
    for words in (case[1].lower(), to_text(case[2]).lower()):
        assert not [word for word in NEVER if word in words]


def test_the_page_loads_nothing_and_runs_nothing(case):
    page = case[1]
    assert "<script" not in page and "://" not in page and len(page.encode()) < 1_000_000
    assert not re.findall(r'(?:src|href)="(?!#|data:)', page) and " style=" not in page
    style = re.search(r"<style>(.*?)</style>", page, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in unescape(page)


def test_the_json_is_strict_and_has_what_it_must(case):
    def refuse(word):
        raise AssertionError(word)

    values = json.loads(to_text(case[2]), parse_constant=refuse)
    assert values.keys() >= {"decision", "policy", "attacks", "copies", "controls", "data", "versions"}
    for row in values["attacks"]:
        assert row.keys() >= {"attack", "access", "released", "auc", "auc_low", "auc_high", "tpr_at_1pct_fpr"}
        assert 0 <= row["auc_low"] <= row["auc"] <= row["auc_high"] <= 1
    with pytest.raises(ValueError, match="JSON compliant"):
        to_text({"number": float("inf")})


def test_bounds_and_numbers_of_the_page_are_those_of_the_json(case):
    _, page, values = case
    told = text(page)
    for limit in values["limits"]:
        highest = max(limit["values"], key=lambda one: 2 if one["high"] is None else one["high"], default=None)
        if highest and highest["high"] is not None and limit["name"] in ("auc", "tpr_at_1pct_fpr"):
            assert f"{highest['low']:.3f} {highest['high']:.3f} {highest['by']}" in told
    for row in values["attacks"]:
        assert f"{row['auc']:.3f} [{row['auc_low']:.3f}, {row['auc_high']:.3f}]" in told


def test_everything_that_cannot_be_shown_has_a_reason_and_a_remedy_on_the_page(case):
    _, page, values = case
    told = text(page)
    assert all(one["reason"] in told and one["remedy"] in told for one in values["reasons"])
    still = [one for one in values["limits"] if one["decision"] == "cannot_be_shown" and one["limit"] is not None]
    assert bool(values["reasons"]) or not still


def test_the_page_of_a_release_that_holds_says_what_it_rests_on():
    found, policy = CASES["holds"]
    told = text(page_of(found, answer(found, policy), policy).html())
    for words in (
        "Researchers of three universities", "None. No guarantee is stated", "white_box uses a discriminator",
        "Linkability", "Inversion", "drawn at random, before training", "finds from", "2027-11-30", "a" * 64, "b" * 64,
        POLICY.sha256, "torch 2.13.0", "Signature", "Legal basis", "A rare disease", "samples released", "0.498",
        "equals a non-member", "1 %", "10 %", "50 %",
    ):  # fmt: skip
        assert words in told, words


def test_a_guarantee_for_a_record_is_none_for_a_person():
    found, policy = CASES["exceeded"]
    told = text(page_of(found, answer(found, policy), policy).html())
    assert "epsilon 8 at delta 1e-05, as stated" in told and "Per person: none is stated" in told
    assert "gives away `encode`, and no attack" in told


def test_words_of_users_are_escaped_and_printable():
    policy = policy_of({**POLICY.to_dict(), "name": "<script>alert(1)</script>", "reasons": "a\x1b[31m & <b>"})
    found = replace(evidence(), released={**evidence().released, "recipient": "\u202e<img src=x>"})
    page = page_of(found, answer(found, policy), policy).html()
    assert "<script" not in page and "<img" not in page and "\x1b" not in page and "\u202e" not in page


def test_files_are_written_and_pairs_are_for_their_owner_alone(tmp_path, capsys):
    pairs = [
        {"kind": "exact", "sample": 3, "sample_file": "fake_3.png", "record": 7, "file": "patient_7.png", "ratio": 0.0}
    ]
    decision = write_evidence(replace(evidence(), pairs=pairs), POLICY, tmp_path / "out")
    assert decision is Decision.NOT_EXCEEDED
    private = tmp_path / "out" / "copied_records.json"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert json.loads(private.read_text())["copied"] == pairs
    for name in ("release.html", "release.json"):
        assert "patient_7" not in (tmp_path / "out" / name).read_text()
    first, place = capsys.readouterr().out.strip().split("\n")
    assert first == "No limit is exceeded by the attacks tried." and place.endswith("out/release.html")
    write_evidence(evidence(), POLICY, tmp_path / "out")
    assert not private.exists()


def test_decisions_have_exit_codes():
    codes = {one: code_of(one) for one in Decision}
    assert codes == {Decision.NOT_EXCEEDED: 0, Decision.EXCEEDED: 1, Decision.CANNOT_BE_SHOWN: 3}
    assert (COMPLETE, EXCEEDED, CANNOT_BE_SHOWN) == (0, 1, 3)
