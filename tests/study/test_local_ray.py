"""What a Ray of our own starts with, and that it leaves nothing; that it holds to it, `tests/left_behind` sees."""

import os
import tempfile
from pathlib import Path

import pytest
import ray
from ray._private import ray_constants
from ray._raylet import AuthenticationMode, AuthenticationTokenLoader, get_authentication_mode

from study.outcomes import REFUSED, Stopped
from study.run import local_ray
from study.run.local_ray import LONGEST, SOCKET, _alone
from tests.commands import mia_study
from tests.small import SMALL

main = mia_study("sweep")

VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@pytest.fixture
def short(monkeypatch):
    """A folder with a short path, which Ray is to use."""
    with tempfile.TemporaryDirectory(prefix="r") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield Path(folder)


def variables():
    return {name: os.environ.get(name) for name in VARIABLES}


@pytest.mark.parametrize("before", [{}, {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "of a cluster"}])
def test_each_ray_has_a_token_of_its_own_and_the_environment_is_as_before_in_the_end(short, monkeypatch, before):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    outside, tokens = variables(), []
    for _ in range(2):
        with _alone(0):
            inside = variables()
            tokens.append(Path(inside["RAY_AUTH_TOKEN_PATH"]).read_text())
            assert AuthenticationTokenLoader.instance().get_raw_token(ignore_auth_mode=True) == tokens[-1]
            assert get_authentication_mode() == AuthenticationMode.TOKEN
            assert (inside["RAY_AUTH_MODE"], inside["RAY_AUTH_TOKEN"]) == ("token", None)
            assert not ray_constants.ENABLE_RAY_CLUSTER
        assert variables() == outside
        assert get_authentication_mode() == AuthenticationMode.DISABLED
        assert ray_constants.ENABLE_RAY_CLUSTER
    assert len(set(tokens)) == 2
    assert min(map(len, tokens)) == 64


def test_only_its_owner_may_read_the_token_and_enter_the_folder_whatever_the_umask(short):
    before = os.umask(0)
    try:
        with _alone(0) as settings:
            token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
            assert oct(token.stat().st_mode & 0o777) == "0o600"
            assert oct(Path(settings["_temp_dir"]).parent.stat().st_mode & 0o777) == "0o700"
    finally:
        os.umask(before)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_its_folder_is_gone_whatever_ends_it(short, error):
    with pytest.raises(error), _alone(0) as settings:
        inside = Path(settings["_temp_dir"])
        inside.mkdir(0o777)
        (inside / "log").write_text("a log")
        assert [path.stat().st_mode & 0o777 for path in short.iterdir()] == [0o700]
        raise error
    assert list(short.iterdir()) == []


def test_its_folder_is_gone_though_a_process_of_ray_still_wrote_when_it_ended(short, monkeypatch):
    plain, late = local_ray.shutil.rmtree, []

    def writing(folder, **options):
        plain(folder, **options)
        if not late:
            late.append(folder)
            Path(folder, "r").mkdir(parents=True)

    monkeypatch.setattr(local_ray.shutil, "rmtree", writing)
    with _alone(0):
        pass
    assert list(short.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Exception("The current node timed out during startup.\nMore"), Stopped),  # as Ray raises it
        (TimeoutError("no answer"), Stopped),
        (RuntimeError("a port is taken"), Stopped),
        (KeyError("a fault of ours"), KeyError),
    ],
)
def test_a_ray_that_does_not_start_is_said_and_a_fault_of_ours_stays_one(short, monkeypatch, error, told):
    def init(**settings):
        raise error

    monkeypatch.setattr(local_ray.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(local_ray.ray, "init", init)
    with pytest.raises(told) as raised, local_ray.local_ray(None, 0):
        pass
    if told is Stopped:
        first = str(error).splitlines()[0]
        assert str(raised.value) == f"Ray did not start on this machine, which may be too busy: {first}"
    assert list(short.iterdir()) == []


def test_the_longest_folder_for_sockets_is_taken_and_a_longer_one_is_refused(short, monkeypatch):
    room = LONGEST - len(f"{short}//ray-12345678/r/{SOCKET.format(process=os.getpid())}")
    monkeypatch.setenv("RAY_TMPDIR", f"{short}/{'x' * room}")
    with _alone(0) as settings:
        socket = Path(settings["_temp_dir"], SOCKET.format(process=os.getpid()))
        assert len(os.fsencode(socket)) == LONGEST
    monkeypatch.setenv("RAY_TMPDIR", f"{short}/{'x' * (room + 1)}")
    with pytest.raises(ValueError, match="1 bytes too long for Ray's sockets; name a shorter folder by RAY_TMPDIR"):
        _alone(0).__enter__()


@pytest.mark.parametrize(("folder", "message"), [("x" * 80, "too long"), ("file/below", "cannot be written")])
def test_a_sweep_that_ray_has_no_folder_for_is_refused_in_one_line(
    short, tmp_path, monkeypatch, capsys, folder, message
):
    (tmp_path / "small.yaml").write_text(SMALL)
    (short / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_TMPDIR", f"{short}/{folder}")
    ray.shutdown()  # of an earlier test, which a sweep would use
    assert main(["small.yaml", "--set", "quality.measures=[]"]) == REFUSED
    told = capsys.readouterr().err
    assert message in told
    assert "RAY_TMPDIR" in told
    assert told.count("\n") == 1
