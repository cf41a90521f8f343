"""What a machine lacks for hosts is said in one line, with or without root; the hosts themselves need `-m cluster`."""

import os
import runpy
import shutil
import sys
from pathlib import Path

import pytest

from tests.cluster import hosts

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """The folder of commands of a machine that has all; they do nothing, and so fail at nothing."""
    for name in hosts.COMMANDS:
        (tmp_path / name).symlink_to(shutil.which("true"))
    monkeypatch.setattr(hosts, "PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path


def test_a_machine_that_has_all_lacks_nothing(machine):
    assert hosts.absent() == ""


def test_without_root_it_says_so(machine, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert hosts.absent() == "needs root, for namespaces"


@pytest.mark.parametrize("command", hosts.COMMANDS)
def test_a_missing_command_is_answered_by_the_package_that_has_it(machine, command):
    (machine / command).unlink()
    assert hosts.absent() == f"needs apt-get install --no-install-recommends {hosts.COMMANDS[command]}"


def test_all_missing_packages_are_named_at_once_and_once(machine):
    for path in machine.iterdir():
        path.unlink()
    words = hosts.absent().split()
    assert words[4:] == [
        "iproute2", "iptables", "openssh-client", "openssh-server", "procps", "rsync", "util-linux"
    ]  # fmt: skip


def test_a_kernel_that_refuses_namespaces_is_named_in_one_line_with_its_reason(machine):
    (machine / "unshare").unlink()
    (machine / "unshare").write_text(
        "#!/bin/sh\necho first >&2\necho 'unshare failed: Operation not permitted' >&2\nexit 1\n"
    )
    (machine / "unshare").chmod(0o755)
    said = hosts.absent()
    assert "namespaces" in said
    assert "(unshare failed: Operation not permitted)" in said
    assert "\n" not in said


def test_the_command_ends_with_that_line_before_any_test_is_collected(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.delitem(sys.modules, "tests.cluster.hosts")  # or runpy warns
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("tests.cluster.hosts", run_name="__main__")
    assert ended.value.code == "needs root, for namespaces"  # what Python prints, with exit code 1
    recipe = (PROJECT / "Makefile").read_text().partition("\ntest-cluster:")[2].splitlines()
    assert "python -m tests.cluster.hosts" in recipe[1]
    assert "pytest" in recipe[2]
