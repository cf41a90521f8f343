"""A release policy: no defaults, nothing loose, and a commented file that is refused until it is filled in."""

import json

import pytest
import yaml

from mia_core.errors import Refused
from study.spec.policy import Policy, policy_of, read_policy, template

LIMITS = {"auc": 0.6, "tpr_at_1pct_fpr": 0.05, "copies": 0.01, "worst_person": 0.9}
POLICY = {"limits": LIMITS, "name": "A. Officer", "date": "2026-11-30", "reasons": "Rare disease, small hospital."}


def filled_in():
    """The commented file, as an officer fills it in."""
    text = template()
    for name, value in {**LIMITS, "name": "A. Officer", "date": "2026-11-30", "reasons": "why"}.items():
        assert text.count(f"{name}:\n") == 1
        text = text.replace(f"{name}:\n", f"{name}: {value}\n")
    return text


def test_a_policy_has_what_its_file_says():
    found = policy_of({**POLICY, "review": "2027-11-30"})
    assert found.to_dict() == {**POLICY, "review": "2027-11-30"}
    assert policy_of(found.to_dict()) == found and isinstance(found, Policy)
    assert found.limits.epsilon is None and len(found.sha256) == 64
    assert found.sha256 != policy_of(POLICY).sha256


def test_the_commented_file_is_refused_until_it_is_filled_in(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(template())
    with pytest.raises(Refused, match=r"policy\.yaml: is not filled in: auc, .*name, date, reasons$"):
        read_policy(path)
    path.write_text(filled_in())
    assert read_policy(path).limits.to_dict() == LIMITS
    for name in ("auc", "tpr_at_1pct_fpr", "copies", "worst_person"):
        path.write_text(filled_in().replace(f"  {name}: {LIMITS[name]}\n", f"  {name}:\n"))
        with pytest.raises(Refused, match=name):
            read_policy(path)
    for name in ("name", "date", "reasons"):
        path.write_text(
            "\n".join(f"{name}:" if line.startswith(f"{name}:") else line for line in filled_in().split("\n"))
        )
        with pytest.raises(Refused, match=f"policy.yaml: .*{name}"):
            read_policy(path)


def test_order_and_comments_do_not_change_its_hash(tmp_path):
    path, other = tmp_path / "a.yaml", tmp_path / "a.json"
    path.write_text("# words\n" + yaml.safe_dump(POLICY, sort_keys=True).replace("'", '"'))
    other.write_text(json.dumps(POLICY))
    assert read_policy(path).sha256 == read_policy(other).sha256 == policy_of(POLICY).sha256


@pytest.mark.parametrize("name", ["tpr_at_1pct_fpr", "copies", "worst_person", "auc"])
def test_every_limit_but_epsilon_is_required(name):
    limits = {key: value for key, value in LIMITS.items() if key != name}
    with pytest.raises(Refused, match=f"{name}: required, and missing"):
        policy_of({**POLICY, "limits": limits})


def test_an_auc_alone_is_refused():
    with pytest.raises(Refused, match=r"AUC alone says nothing.*set tpr_at_1pct_fpr, copies, worst_person too"):
        policy_of({**POLICY, "limits": {"auc": 0.6}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"auc": 0.4}, "auc"), ({"auc": "0.6"}, "auc"), ({"auc": True}, "auc"), ({"auc": float("nan")}, "auc"),
        ({"tpr_at_1pct_fpr": 0}, "tpr"), ({"copies": -0.1}, "copies"), ({"worst_person": 1.1}, "worst_person"),
        ({"epsilon": 8.0}, "epsilon_unit"), ({"epsilon_unit": "person"}, "need each other"),
        ({"epsilon": 8.0, "epsilon_unit": "family"}, "epsilon_unit"), ({"aux": 0.6}, "did you mean 'auc'"),
        ({"epsilon": float("inf"), "epsilon_unit": "person"}, "epsilon"),
    ],
)  # fmt: skip
def test_a_limit_out_of_range_or_unknown_is_refused(change, message):
    with pytest.raises(Refused, match=message) as error:
        policy_of({**POLICY, "limits": {**LIMITS, **change}})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"date": "30.11.2026"}, "no day such as"), ({"date": "20261130"}, "no day such as"), ({"name": "  "}, "blank"),
        ({"reasons": ""}, "reasons"), ({"review": "2026-11-30"}, "must be after"), ({"signed": True}, "unknown key"),
        ({"limits": [0.6]}, "limits"), ({"limits": None}, "limits"),
    ],
)  # fmt: skip
def test_a_day_a_name_or_a_key_that_is_none_is_refused(change, message):
    with pytest.raises(Refused, match=message):
        policy_of({**POLICY, **change})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("limits: {auc: 0.6, auc: 0.7}", "duplicate key"), ("limits: &a {}\nname: *a", "anchors and aliases"),
        ("limits: !!python/name:os.system", "tags are not allowed"), ("- 1", "expected keys and values"),
    ],
)  # fmt: skip
def test_a_file_is_read_as_strictly_as_a_study_file(text, message, tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(Refused, match=message):
        read_policy(path)
