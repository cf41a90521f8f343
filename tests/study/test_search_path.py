"""No command imports a module of the folder that it is run in. `tests/left_behind` sees the same of a whole sweep."""

import os
import socket
import subprocess
import sys

import pytest

from mia_core.errors import Refused
from study import search_path
from study.machine import PROJECT
from study.run import joining

NAMES = ("torch", "numpy", "json", "argparse", "ray", "importlib_metadata", "shtab", "textwrap", "pydantic")


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """A working folder full of modules; the names of those that were imported."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / f'hit-{name}')!r}, 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    return lambda: sorted(path.name for path in tmp_path.glob("hit-*"))


@pytest.mark.parametrize("module", ["study.sweep", "analysis.report"])
def test_python_with_a_module_of_ours_imports_none_of_the_working_folder(hostile, module):
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    environment.pop("PYTHONSAFEPATH", None)
    command = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert hostile() == []


def test_who_asks_for_a_cluster_imports_none_of_the_working_folder(hostile, monkeypatch):
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.setattr(joining, "SECONDS", 4.0)
    with socket.create_server(("0.0.0.0", 0)) as server, pytest.raises(Refused):
        joining.found(f"127.0.0.1:{server.getsockname()[1]}")
    assert hostile() == []


def test_the_working_folder_leaves_the_path_and_the_checkout_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    monkeypatch.chdir(tmp_path)
    for first in (str(tmp_path), ""):
        monkeypatch.setattr(sys, "path", [first, "/elsewhere", str(tmp_path)])
        search_path.leave_working_folder()
        assert sys.path == ["/elsewhere", str(tmp_path)]
    monkeypatch.chdir(PROJECT)
    monkeypatch.setattr(sys, "path", ["", "/elsewhere"])
    search_path.leave_working_folder()
    assert sys.path == ["", "/elsewhere"]
    assert search_path.folders_of_packages() == [str(PROJECT)]
    monkeypatch.setattr(sys, "path", ["/elsewhere"])
    assert search_path.folders_of_packages() == []
