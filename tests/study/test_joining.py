"""`--address` of nobody is refused within half a minute, in one line with the way out."""

import socket
import subprocess
import sys
import threading
import time

import pytest
import ray

from study.outcomes import REFUSED
from study.run import joining
from tests.commands import mia_study
from tests.small import SMALL


@pytest.fixture
def alone(monkeypatch):
    """No Ray of an earlier test, which a sweep would use."""
    ray.shutdown()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def silent():
    """host:port of somebody who takes connections and says nothing."""
    with socket.create_server(("0.0.0.0", 0)) as server:  # Ray takes 127.0.0.1 for this host's own address
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def nobody():
    """host:port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"127.0.0.1:{port}"


def refusal(address, tmp_path, monkeypatch, capsys, *more):
    (tmp_path / "small.yaml").write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    started = time.monotonic()
    assert mia_study("sweep")(["small.yaml", "--address", address, *more]) == REFUSED
    assert time.monotonic() - started < 30
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "without --address this machine is used" in said
    assert not (tmp_path / "results").exists()
    return said


def test_auto_without_a_cluster_is_refused(alone, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(joining, "canonicalize_bootstrap_address", _none)
    assert "no Ray cluster runs on this machine" in refusal("auto", tmp_path, monkeypatch, capsys)


def _none(address):
    raise ConnectionError


@pytest.mark.parametrize("address", ["", "nonsense", "local", "host:port", "127.0.0.1:99999"])
def test_what_is_no_address_is_refused(alone, address, tmp_path, monkeypatch, capsys):
    said = refusal(address, tmp_path, monkeypatch, capsys)
    assert "neither auto nor host:port" in said or "nobody is at" in said


def test_where_nobody_listens_is_refused_at_plan_and_sweep(alone, nobody, tmp_path, monkeypatch, capsys):
    for more in ((), ("--plan",)):
        assert f":{nobody.split(':')[1]} (Connection refused)" in refusal(nobody, tmp_path, monkeypatch, capsys, *more)


def test_a_host_of_no_name_is_refused(alone, tmp_path, monkeypatch, capsys):
    assert "nobody is at nohost.invalid:6379" in refusal("nohost.invalid:6379", tmp_path, monkeypatch, capsys)


def test_a_host_that_never_answers_is_given_up(alone, tmp_path, monkeypatch, capsys):
    def never(where, seconds):
        assert seconds <= 10
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", never)
    assert "nobody is at 10.255.255.1:6379 (no answer)" in refusal("10.255.255.1:6379", tmp_path, monkeypatch, capsys)


def test_who_listens_and_says_nothing_is_given_up(alone, silent, tmp_path, monkeypatch, capsys):
    assert joining.TCP_SECONDS + joining.SECONDS < 30
    monkeypatch.setattr(joining, "SECONDS", 4.0)
    assert "does not answer as a Ray cluster" in refusal(silent, tmp_path, monkeypatch, capsys)


@pytest.mark.slow
def test_a_server_of_another_kind_is_refused(alone, tmp_path, monkeypatch, capsys):
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "0.0.0.0"], stdout=subprocess.PIPE, text=True
    ) as server:
        port = server.stdout.readline().split(" port ")[1].split()[0]
        threading.Thread(target=server.stdout.read, daemon=True).start()
        try:
            assert "Ray cluster" in refusal(f"127.0.0.1:{port}", tmp_path, monkeypatch, capsys)
        finally:
            server.kill()


def test_an_address_of_rays_client_is_refused_with_the_way_out(alone, tmp_path, monkeypatch, capsys):
    (tmp_path / "small.yaml").write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    assert mia_study("sweep")(["small.yaml", "--address", "ray://127.0.0.1:10001"]) == REFUSED
    assert "run the command on the head of the cluster, with --address auto" in capsys.readouterr().err
