"""Wheel and sdist: what is in them, and that they work outside of a checkout."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from study.machine import code_versions
from tests.shared import once

ROOT = Path(__file__).parents[2]
BUILD = "import setuptools.build_meta as build, sys; getattr(build, sys.argv[1])(sys.argv[2])"
SCRIPT = "import sys; from study.cli.main import script; sys.exit(script())"


def build(what, source, out):
    command = [sys.executable, "-c", BUILD, what, str(out)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def installed():
    """A folder with the packages of a wheel that was made from an sdist, and nothing of the checkout."""

    def make(folder):
        (folder / "checkout").mkdir()
        for name in ("mia_core", "study", "analysis", "configs", "docs", "setup.py", "MANIFEST.in", "pyproject.toml",
                     "README.md", "LICENSE", "CHANGELOG.md", "constraints.txt", "cluster.yaml"):  # fmt: skip
            (folder / "checkout" / name).symlink_to(ROOT / name)
        copied = folder / "copied"
        subprocess.run(["cp", "-rL", str(folder / "checkout"), str(copied)], check=True)
        build("build_sdist", copied, folder / "dist")
        (sdist,) = (folder / "dist").glob("*.tar.gz")
        with tarfile.open(sdist) as archive:
            archive.extractall(folder / "unpacked", filter="data")
        (source,) = (folder / "unpacked").iterdir()
        build("build_wheel", source, folder / "dist")
        (wheel,) = (folder / "dist").glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder / "installed")

    return once("packages", make)[0] / "installed"


def run(installed, folder, *words):
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.long
def test_a_wheel_made_from_an_sdist_has_every_file_that_the_packages_need(installed):
    wanted = {file.relative_to(ROOT) for name in ("mia_core", "study", "analysis") for file in (ROOT / name).rglob("*")
              if file.is_file() and file.suffix != ".pyc"}  # fmt: skip
    wanted |= {Path("study") / file.relative_to(ROOT) for file in (ROOT / "configs").rglob("*.yaml")}
    assert {path for path in wanted if not (installed / path).is_file()} == set()


@pytest.mark.long
def test_the_studies_of_configs_are_found_outside_of_a_checkout_and_a_users_own_go_first(installed, tmp_path):
    shown = run(installed, tmp_path, "config", "configs/privacy_digits.yaml")
    assert shown.returncode == 0 and '"study": "privacy_digits"' in shown.stdout, shown.stderr
    (tmp_path / "configs").mkdir()
    own = (ROOT / "configs" / "digits.yaml").read_text().replace("study: digits", "study: mine")
    (tmp_path / "configs" / "privacy_digits.yaml").write_text(own)
    shown = run(installed, tmp_path, "config", "configs/privacy_digits.yaml")
    assert '"study": "mine"' in shown.stdout, shown.stderr


@pytest.mark.slow
def test_an_installed_wheel_plans_the_default_study_in_an_empty_folder(installed, tmp_path):
    plan = run(installed, tmp_path, "sweep", "--plan")
    assert plan.returncode == 0 and "study digits" in plan.stdout, plan.stderr
    assert run(installed, tmp_path, "--help").returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_a_commit_is_never_that_of_a_repository_which_this_is_only_installed_in(monkeypatch, tmp_path):
    assert len(code_versions()["git_commit"]) == 40 or not (ROOT / ".git").exists()
    inside = tmp_path / "venv" / "site-packages"
    inside.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    commit = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@y", "commit", "-q", "--allow-empty",
              "-m", "x"]  # fmt: skip
    subprocess.run(commit, check=True)
    monkeypatch.setattr("study.machine.PROJECT", inside)
    assert code_versions()["git_commit"] == "unknown"
