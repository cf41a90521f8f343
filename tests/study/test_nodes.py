"""What a cluster's nodes must have alike, and which may still come; real nodes are in tests/cluster."""

import json
import shutil

import pytest

from study.run import nodes
from study.run.nodes import checked, may_start_gpus, software


def test_software_is_the_same_twice_and_names_versions_and_sources():
    own = software()
    assert own == software()
    assert set(own) == {"python", "torch", "numpy", "ray", "pyarrow", "format", "source"}
    assert "+" not in own["torch"]  # nodes with and without GPUs have different builds


@pytest.mark.parametrize("change", ["a byte", "a file more", "a file less", "another name"])
def test_any_change_of_sources_is_seen(tmp_path, monkeypatch, change):
    for room in ("mia_core", "study"):
        shutil.copytree(nodes.PROJECT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(nodes, "PROJECT", tmp_path)
    before = software()["source"]
    path = tmp_path / "study" / "design" / "work.py"
    if change == "a byte":
        path.write_bytes(path.read_bytes() + b"\n")
    elif change == "a file more":
        path.with_name("more.py").touch()
    elif change == "a file less":
        path.unlink()
    else:
        path.rename(path.with_name("works.py"))
    assert software()["source"] != before


def test_a_node_with_the_drivers_software_runs_the_trial():
    ran = []
    checked(lambda config, **given: ran.append((config, given)), software())({"trajectory": "t"}, design=1)
    assert ran == [({"trajectory": "t"}, {"design": 1})]


@pytest.mark.parametrize("key", software())
def test_a_node_that_comes_with_other_software_fails_its_trial_in_one_line_that_names_it(monkeypatch, key):
    monkeypatch.setattr(nodes.platform, "node", lambda: "late")
    run = checked(lambda config: pytest.fail("it ran"), {**software(), key: "0.1"})
    with pytest.raises(ValueError, match=f"^node late has {key} .*, and this driver 0.1; `ray up` the same") as refusal:
        run({})
    assert "\n" not in str(refusal.value)


GPU, CPU = {"resources": {"CPU": 4, "GPU": 1}}, {"resources": {"CPU": 4}}


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        (None, False),
        ({}, False),
        ({"head": {"resources": {"CPU": 0, "GPU": 0}, "max_workers": 0}, "cpu": CPU}, False),
        ({"head": {**GPU, "max_workers": 0}, "cpu": CPU}, False),  # the head is there already, or never
        ({"cpu": CPU, "gpu": {**GPU, "max_workers": 4}}, True),
        ({"gpu": GPU}, True),
    ],
)
def test_gpus_that_the_autoscaler_may_start_count_before_they_are_there(tmp_path, monkeypatch, types, expected):
    monkeypatch.setattr(nodes, "BOOTSTRAP", tmp_path / "ray_bootstrap_config.yaml")
    if types is not None:
        nodes.BOOTSTRAP.write_text(json.dumps({"available_node_types": types}))
    assert may_start_gpus() is expected
