"""`mia-study release`: the study file that a command line stands for, and a run from three folders to a page."""

import argparse
import json
import stat
from pathlib import Path

import pytest
import yaml

from mia_core.errors import Refused
from study.cli.release_command import release_arguments, release_study
from study.spec.study_file import parse
from tests.commands import run_here
from tests.study.given_release import SAMPLES, make_folders


def asked(*words):
    parser = argparse.ArgumentParser()
    release_arguments(parser)
    return release_study(parser.parse_args(words))


FOLDERS = ("--members", "in", "--non-members", "out")
POLICY = """
limits: {auc: 0.6, tpr_at_1pct_fpr: 0.1, copies: 0.001, worst_person: 0.9}
name: A. Person
date: 2026-11-30
reasons: tried in a test
"""


def test_a_command_line_is_a_study_file_with_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("limits.yaml").write_text(POLICY)
    stated = ("--epsilon", "3", "--delta", "1e-5", "--epsilon-unit", "person", "--recipient", "a colleague")
    found = asked("--samples", "s.npz", "--key", "x", *FOLDERS, "--groups", "g.csv", *stated, "--policy", "limits.yaml")
    assert found["release"] == {
        "name": "samples",
        "root": str(tmp_path / "s.npz"),
        "key": "x",
        "recipient": "a colleague",
        "epsilon": 3.0,
        "delta": 1e-5,
        "epsilon_unit": "person",
    }
    assert found["split"]["members"] == str(tmp_path / "in") and found["split"]["holdout"] == "other"
    assert parse(found).resolved["policy"]["limits"]["auc"] == 0.6
    assert asked("--samples", "s", *FOLDERS, "--size", "16")["data"] == {"size": 16}
    weights = asked("--weights", "w.safetensors", "--target", "{name: dcgan, width: 4}", *FOLDERS)["release"]
    assert weights["target"] == {"name": "dcgan", "width": 4}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (FOLDERS, "name what is released"),
        (("--samples", "s", "--onnx", "g", *FOLDERS), "by one of them"),
        (("--samples", "s", "--members", "in"), "--non-members: required"),
        (("--samples", "s", *FOLDERS, "--latent", "normal:3"), "--latent: says nothing of --samples"),
        (("--onnx", "g.onnx", *FOLDERS), "--latent: --onnx needs it"),
        (("--weights", "w", *FOLDERS), "--target: --weights needs it"),
        (("--samples", "s", *FOLDERS, "--policy", "nowhere.yaml"), "nowhere.yaml"),
    ],
)
def test_a_command_line_that_does_not_fit_is_refused(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused, match=message):
        asked(*words)


def test_size_and_channels_of_a_generator_are_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_sampler.py").write_text(
        "import numpy as np\ndef draw(n, seed):\n    return np.zeros((n, 1, 24, 24))\n"
    )
    assert asked("--callable", "a_sampler:draw", *FOLDERS)["data"] == {"size": 24, "channels": 1}


def test_a_policy_is_written_to_fill_in_and_never_over_another(tmp_path):
    assert run_here("release", tmp_path, "--write-policy", "limits.yaml").returncode == 0
    blank = run_here("release", tmp_path, "--samples", "s", *FOLDERS, "--policy", "limits.yaml")
    again = run_here("release", tmp_path, "--write-policy", "limits.yaml")
    assert blank.returncode == again.returncode == 2 and "is there already" in again.stderr


def test_three_folders_give_a_page_an_answer_and_a_store_that_goes_on(tmp_path):
    """The AUC of samples that replay members is that of the formula, and the limits are exceeded."""
    replayed = make_folders(tmp_path)
    (tmp_path / "limits.yaml").write_text(POLICY)
    attacks = "attacks=[{name: euclidean, generated: [50, 150]}]"
    words = [
        *("--samples", "samples", "--members", "members", "--non-members", "others", "--groups", "persons.csv"),
        *("--holdout", "random", "--policy", "limits.yaml", "--out", "answer"),
        *("--set", attacks, "--set", "controls.permutations=99", "--set", f"data.cache={tmp_path / 'cache'}"),
    ]
    found = run_here("release", tmp_path, *words)
    assert found.returncode == 1, found.stdout + found.stderr
    answer = json.loads((tmp_path / "answer" / "release.json").read_text())
    assert answer["decision"] == "exceeded"
    rows = {row["attack"]: row for row in answer["attacks"]}
    whole = rows["euclidean_generated150"]
    truth = 1 - (1 - 1 / 110) ** replayed / 2
    assert whole["released"] == SAMPLES
    assert abs(whole["auc"] - truth) < 2 * (whole["auc_high"] - whole["auc_low"]) / (2 * 1.96)
    document = yaml.safe_load((tmp_path / "answer" / "release.yaml").read_text())
    assert document["split"]["members"] == str(tmp_path / "members")
    for name in ("release.html", "release.json", "release.yaml"):
        assert stat.S_IMODE((tmp_path / "answer" / name).stat().st_mode) == 0o600
    again = run_here("release", tmp_path, *words)
    assert again.returncode == 1 and "done: " not in again.stdout  # nothing was left to run


def test_what_is_not_complete_ends_in_cannot_be_shown_and_writes_no_page(tmp_path, monkeypatch):
    from mia_core.attacks.euclidean import Euclidean

    make_folders(tmp_path)
    monkeypatch.setattr(Euclidean, "run", lambda *arguments: 1 / 0)
    folders = ("--samples", "samples", "--members", "members", "--non-members", "others")
    sets = ("attacks=[{name: euclidean, generated: 50}]", "controls={copycat: false, nulls: 0, permutations: 99}")
    words = [word for setting in (*sets, f"data.cache={tmp_path / 'cache'}") for word in ("--set", setting)]
    found = run_here("release", tmp_path, *folders, "--out", "answer", *words)
    assert found.returncode == 3 and "incomplete" in found.stdout
    said = found.stdout.splitlines()
    assert sum(line.startswith("note: ") and "cannot be shown" in line for line in said[:2]) == 2  # limits, holdout
    assert not (tmp_path / "answer" / "release.html").exists()
