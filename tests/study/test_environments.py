"""Environments that users have: folders and variables that are missing, limits, a terminal that is closed."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import ray

from mia_core.errors import Refused
from study import machine
from study.outcomes import REFUSED
from study.spec import documents
from study.spec.study_file import parse
from tests.commands import mia_study
from tests.small import SMALL, small_spec

SIGNALED = """
import os, signal, sys
from study.signals import terminate_in_order
if sys.argv[1] == "ignored":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
terminate_in_order()
try:
    os.kill(os.getpid(), signal.SIGHUP)
except KeyboardInterrupt:
    print("in order")
else:
    print("went on")
"""


@pytest.fixture
def study(tmp_path, monkeypatch):
    (tmp_path / "small.yaml").write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    ray.shutdown()
    return "small.yaml"


def refusal(capsys, *words):
    assert mia_study("sweep")(list(words)) == REFUSED
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("refused: ") and "goes on" not in said
    return said


@pytest.mark.parametrize(("how", "said"), [("given", "in order\n"), ("ignored", "went on\n")])
def test_a_closed_terminal_ends_a_command_in_order_unless_it_runs_under_nohup(how, said):
    command = [sys.executable, "-c", SIGNALED, how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == said, done.stderr


def test_results_of_a_study_file_may_be_in_the_home_folder_or_a_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MIA_PLACE", str(tmp_path / "place"))
    assert small_spec("results=~/x").results == f"{tmp_path}/x"
    assert small_spec("results=$MIA_PLACE/x").results == f"{tmp_path}/place/x"
    assert small_spec("tracking=sqlite:///~/mlflow.db").tracking == f"sqlite:///{tmp_path}/mlflow.db"
    assert small_spec("tracking=postgresql://user:pa$word@host/db").tracking == "postgresql://user:pa$word@host/db"
    with pytest.raises(Refused, match=r"results: \$NONE_OF_THIS/x: there is no variable NONE_OF_THIS"):
        small_spec("results=$NONE_OF_THIS/x")


@pytest.mark.parametrize("setting", ["results: s3://theirs/$SECRET", "tracking: 'sqlite:////tmp/$SECRET.db'"])
def test_no_secret_of_the_environment_gets_into_a_path_of_a_study_file(setting, monkeypatch):
    monkeypatch.setenv("SECRET", "wJalrXUtnFEMI")
    name, _, value = setting.partition(": ")
    with pytest.raises(Refused, match=rf"{name}: .*may not name the variable SECRET") as refused:
        parse({**documents.parse(SMALL, "small"), name: value.strip("'")})
    assert "wJalrXUtnFEMI" not in str(refused.value)


@pytest.mark.parametrize("tracking", ["/root", "mlruns", "file:///tmp/mlruns", "~"])
def test_a_folder_for_tracking_as_a_shell_makes_of_a_tilde_is_refused(tracking):
    document = {**documents.parse(SMALL, "small"), "tracking": tracking}
    with pytest.raises(
        Refused, match=r"tracking: .*sqlite:///mlflow\.db or http://host:5000 will do, and null for none"
    ):
        parse(document)


@pytest.mark.parametrize("uri", ["http://[::1", "https://a]b", "HTTP://host"])
def test_an_address_for_tracking_is_mlflows_to_judge(uri):
    assert parse({**documents.parse(SMALL, "small"), "tracking": uri}).tracking == uri


def test_paths_on_the_command_line_that_no_shell_expanded_are(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SMALL)
    assert mia_study("config")(["~/small.yaml"]) == 0
    assert mia_study("report")(["~/results/small", "--out=~/x.html"]) == REFUSED
    assert f"{tmp_path}/results/small" in capsys.readouterr().err
    assert mia_study("store check")(["$NONE_OF_THIS/x"]) == REFUSED
    assert "there is no variable NONE_OF_THIS" in capsys.readouterr().err
    assert mia_study("release")(["--write-policy=~/limits.yaml"]) == 0
    assert (tmp_path / "limits.yaml").is_file()
    given = ("samples", "members", "non-members", "reference", "groups")
    assert mia_study("release")([*(f"--{word}=~/{word}" for word in given), "--policy=~/limits.yaml"]) == REFUSED
    assert f"{tmp_path}/limits.yaml" in capsys.readouterr().err
    assert mia_study("release")([*(f"--{word}=~/{word}" for word in given)]) == REFUSED
    assert f" {tmp_path}/" in capsys.readouterr().err
    np.save(tmp_path / "abar.npy", np.ones((2, 2)))
    declared = ("--prediction=v", "--timesteps=9", "--schedule=~/abar.npy")
    assert mia_study("release")(["--denoiser=~/d", *declared, "--members=~/a", "--non-members=~/b"]) == REFUSED
    assert f"--schedule: {tmp_path}/abar.npy has the shape" in capsys.readouterr().err
    assert not [path for path in tmp_path.iterdir() if path.name[0] in "~$"]


@pytest.mark.parametrize(
    "words",
    [
        "export STORE {}",
        "store export --public STORE {}",
        "figures STORE {}",
        "report STORE --out {}",
        "init {} x.yaml",
    ],
)
@pytest.mark.parametrize("address", ["s3://bucket/x", "http://[::1", "file:///tmp/x"])
def test_an_address_in_place_of_a_path_of_this_machine_is_refused_and_no_folder_is_named_so(
    words, address, monkeypatch, tmp_path, capsys
):
    monkeypatch.chdir(tmp_path)
    given = [word.format(address) for word in words.split()]
    command = {"store": 2}.get(given[0], 1)
    assert mia_study(" ".join(given[:command]))(given[command:]) == REFUSED
    assert "is no file or folder of this machine" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_user_without_a_home_is_refused_with_the_way_out(study, monkeypatch, capsys):
    def none():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    assert 'as HOME="$PWD"' in refusal(capsys, study)


def test_without_a_folder_for_temporary_files_a_sweep_and_a_trial_are_refused(study, monkeypatch, capsys):
    def none():
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", "/nowhere")
    assert "/nowhere: no folder for temporary files" in refusal(capsys, study)
    assert not Path("results").exists()
    assert mia_study("trial")([study]) == REFUSED
    assert "name one by TMPDIR" in capsys.readouterr().err


def test_a_long_folder_for_temporary_files_is_refused_before_anything_is_written(study, monkeypatch, capsys):
    with tempfile.TemporaryDirectory() as short:
        monkeypatch.delenv("RAY_TMPDIR", raising=False)
        monkeypatch.setattr(tempfile, "tempdir", f"{short}/{'x' * 90}")
        assert "too long for Ray's sockets; name a shorter folder by RAY_TMPDIR" in refusal(capsys, study)
    assert not Path("results").exists()


LIMITED = """
import json, resource, sys
from study import machine
from mia_core import hardware
hardware.cpus = lambda: 1000
for limits in json.loads(sys.argv[1]):
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    try:
        print(machine.slots(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    except ValueError as error:
        print(error)
"""
OPEN_FILES = {
    (1024, 1024): "231 1024",
    (256, 1024): "231 1024",
    (256, 256): "39 256",
    (104, 104): "1 104",
    (103, 103): "ulimit -n 103: Ray opens at least 104 files at once; raise it, as by `ulimit -n 4096`",
}
"""What is said, by soft and hard limit; these fall, as a process may not raise them."""


@pytest.mark.long
def test_trials_at_once_are_no_more_than_the_limit_of_open_files_allows():
    command = [sys.executable, "-c", LIMITED, json.dumps(list(OPEN_FILES))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines() == list(OPEN_FILES.values())


def test_a_scratch_folder_is_gone_in_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with machine.scratch_folder() as folder:
        assert list(tmp_path.iterdir()) == [Path(folder)]
    assert list(tmp_path.iterdir()) == []
