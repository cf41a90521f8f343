"""`mia-study release`: the study file that a command line stands for, and a run from three folders to a page."""

import argparse
import json
import shutil
import stat
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from mia_core.errors import Refused
from study.cli.release_command import release_arguments, release_study
from study.cli.release_flags import by_flags
from study.spec.study_file import parse
from tests.commands import MIA_STUDY, run_here
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


def refused(folder, *words):
    """The line of a command that is refused."""
    found = run_here("release", folder, *words, "--out", "answer", "--set", f"data.cache={folder / 'cache'}")
    assert found.returncode == 2, found.stdout + found.stderr
    lines = [line for line in found.stderr.splitlines() if line.startswith("refused: ")]
    assert len(lines) == 1
    return lines[0]


def test_refusals_name_flags_and_leave_nothing_behind(tmp_path):
    make_folders(tmp_path)
    np.savez(tmp_path / "two.npz", x=np.zeros((9, 8, 8), np.uint8), y=np.zeros((9, 8, 8), np.uint8))
    np.save(tmp_path / "wide.npy", np.full((9, 8, 8), 7.0))
    (tmp_path / "who.csv").write_text("image,patient\nmembers000.png,p\n")
    (tmp_path / "samples" / "x.png").write_bytes(b"no image")
    folders = ("--members", "members", "--non-members", "others")
    for words, message in {
        (*folders, "--samples", "two.npz"): "has 2 arrays (x, y); name one by --key",
        (*folders, "--samples", "wide.npy"): "; --range is one of -1,1",
        (*folders, "--samples", "nowhere"): "refused: --samples: ",
        (*folders, "--samples", "samples"): "leave them out with --set data.on_unreadable=skip",
        (*folders, "--samples", "two.npz", "--key", "x", "--groups", "who.csv"): "by --set data.file_column",
        (*folders, "--samples", "members"): "is the folder of --members",
        (*folders, "--samples", "members/.."): "has in it the folder of --members",
        ("--members", "members", "--non-members", "nowhere", "--samples", "two.npz"): "refused: --non-members: ",
        ("--members", "members", "--non-members", "members", "--samples", "two.npz"): "is the folder of members",
    }.items():
        told = refused(tmp_path, *words)
        assert message in told and "release." not in told and "split." not in told, told
        assert not (tmp_path / "answer").exists()
    shutil.rmtree(tmp_path / "others")
    shutil.copytree(tmp_path / "members", tmp_path / "others")
    told = refused(tmp_path, *folders, "--samples", "two.npz", "--key", "x")
    assert "--non-members: 0 of 110 records are left" in told and "110 non_members that equal members" in told
    (tmp_path / "answer").mkdir()
    (tmp_path / "answer" / "release.yaml").write_text("of an earlier answer")
    refused(tmp_path, *folders, "--samples", "nowhere")
    assert (tmp_path / "answer" / "release.yaml").read_text() == "of an earlier answer"
    assert [path.name for path in (tmp_path / "answer").iterdir()] == ["release.yaml"]


@pytest.mark.long
def test_a_network_that_fails_is_refused_in_one_line_and_nothing_else_is_printed(tmp_path):
    make_folders(tmp_path)
    nodes = [helper.make_node("Reshape", ["z", "s"], ["x"])]  # of 2 x 5 numbers no images of 8 x 8
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("z", "x")]
    ends[0].CopyFrom(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["B", 5]))
    shape = numpy_helper.from_array(np.array([-1, 3, 8, 8]), "s")
    model = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], [shape]), ir_version=8)
    (tmp_path / "g.onnx").write_bytes(model.SerializeToString())
    words = ("release", "--onnx", "g.onnx", "--latent", "normal:5", "--members", "members", "--non-members", "others")
    found = subprocess.run((*MIA_STUDY, *words), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 2 and not found.stdout
    (line,) = found.stderr.splitlines()
    assert line.startswith("refused: release: the generator does not take inputs of [2, 5]: ")
    assert not (tmp_path / "release").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("release.key; release.root: x", "--key; --samples: x"),
        ("set data.size=24 and data.channels=1", "set --size 24 and --set data.channels=1"),
        ("/my/data.size/split.groups and a.release.key", "/my/data.size/split.groups and a.release.key"),
        ("data.size.png, x-data.size", "data.size.png, x-data.size"),
        ("--set data.pages: expected", "--set data.pages: expected"),
        ("split.known_percent: raise it", "--set split.known_percent: raise it"),
    ],
)
def test_settings_become_flags_and_paths_stay(words, told):
    assert by_flags(words, "samples") == told
