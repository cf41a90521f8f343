"""Ray for a sweep: a running cluster, or one of its own on this machine, which no other user reaches or reads."""

import contextlib
import logging
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]
from ray.job_config import JobConfig

from mia_core import private_files
from mia_core.errors import Refused, shorten
from mia_core.paths import expanded
from study.machine import scratch_base, slots
from study.outcomes import Stopped
from study.run import joining
from study.run.raylet import raylet, warned_when_it_dies
from study.search_path import folders_of_packages
from study.signals import terminate_in_order

SOCKET = "session_2026-01-01_00-00-00_000000_{process}/sockets/plasma_store"
"""The longest name that Ray gives to a socket below its folder."""
LONGEST = 107
"""Bytes of a socket's path."""
NOT_STARTED = (ConnectionError, TimeoutError, RuntimeError, ray.exceptions.RayError)
REMOVAL_SECONDS = 10.0
"""How long Ray's last processes may still write after its end."""


class _OwnCode(JobConfig):  # type: ignore[misc]
    """Workers import no module of the working folder nor of the script's, which Ray puts first on their path."""

    def _serialize(self) -> str:
        self._py_driver_sys_path = folders_of_packages()
        return super()._serialize()


@contextlib.contextmanager
def local_ray(address: str | None, data_bytes: int) -> Iterator[None]:
    """A Ray of our own on this machine, without a dashboard, or a running cluster; the one at hand, if there is one.

    ValueError where Ray cannot have a folder of its own, or a cluster cannot be joined; Stopped where our own Ray does
    not start.
    """
    if ray.is_initialized():
        yield
        return
    cluster = None if address is None else joining.found(address)
    with contextlib.nullcontext({"address": cluster}) if cluster else _alone(data_bytes) as settings:
        previous = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(logging_level=logging.ERROR, log_to_driver=False, job_config=_OwnCode(), **settings)
        except SystemExit:  # by Ray's own handler of SIGTERM, which it puts in the place of ours while it starts
            raise KeyboardInterrupt from None
        except Exception as error:
            # Ray says that it took too long by an Exception of no further kind.
            if not isinstance(error, NOT_STARTED) and type(error) is not Exception:
                raise
            reason = shorten((str(error).strip().splitlines() or [type(error).__name__])[0])
            if cluster is None:
                raise Stopped(f"Ray did not start on this machine, which may be too busy: {reason}") from None
            raise Refused(f"--address {address}: the cluster at {cluster} cannot be joined: {reason}") from None
        terminate_in_order()
        try:
            with warned_when_it_dies(raylet()):
                yield
        finally:
            ray.shutdown()
            signal.signal(signal.SIGTERM, previous)


@contextlib.contextmanager
def _alone(data_bytes: int) -> Iterator[dict[str, Any]]:
    """Settings of a Ray that listens on loopback alone, with a token and a folder of its own, both gone in the end."""
    folder = _folder()
    try:
        token = folder / "token"
        with private_files.open_file(token, "x") as file:
            file.write(secrets.token_hex(32))
        with _token_of(token), _on_loopback():
            yield {
                "address": "local",
                "num_cpus": slots(),
                "include_dashboard": False,
                # One copy of the pool and some room. More would not fit into a small /dev/shm, and Ray would go to
                # the disk.
                "object_store_memory": 200 * 2**20 + data_bytes * 5 // 4,
                "_temp_dir": str(folder / "r"),  # Ray opens it to everybody, but nobody else gets to it
            }
    finally:
        _remove(folder)


def require_room() -> None:
    """Refused where Ray cannot have a folder of its own on this machine, before anything else is done for it."""
    if not ray.is_initialized():
        _remove(_folder())


def _base() -> Path:
    """Named by RAY_TMPDIR, else where temporary files go."""
    named = os.environ.get("RAY_TMPDIR")
    return expanded(named, "all").absolute() if named else scratch_base()


def _folder() -> Path:
    """A new folder that only its owner enters, for the sockets and logs of Ray."""
    base = _base()
    name = f"ray-{'x' * 8}/r/{SOCKET.format(process=os.getpid())}"
    spare = LONGEST - len(os.fsencode(base / name))
    if spare < 0:
        raise Refused(f"{base}: {-spare} bytes too long for Ray's sockets; name a shorter folder by RAY_TMPDIR")
    try:
        private_files.make_folder(base)
        return Path(tempfile.mkdtemp(prefix="ray-", dir=base))
    except OSError as error:
        raise Refused(f"{base}: cannot be written: {error.strerror}; name another folder by RAY_TMPDIR") from None


def _remove(folder: Path) -> None:
    until = time.monotonic() + REMOVAL_SECONDS
    while folder.exists() and time.monotonic() < until:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.1)


@contextlib.contextmanager
def _token_of(path: Path) -> Iterator[None]:
    """Ray asks for the token in a file, and for no token of a cluster, which no process here then has."""
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path), "RAY_AUTH_TOKEN": None}
    before = {name: os.environ.get(name) for name in own}
    _set_token(own)
    try:
        yield
    finally:
        _set_token(before)


def _set_token(environment: dict[str, str | None]) -> None:
    for name, value in environment.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    Config.initialize("")  # mode and token are read once, unless Ray is told to read them again
    AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Ray takes 127.0.0.1 for its own address, and so listens there alone.

    It is what RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 does, which Ray reads when it is imported, and which would hinder it
    in a cluster. `ray.init(_node_ip_address="127.0.0.1")` is changed by Ray to an address that others reach.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
