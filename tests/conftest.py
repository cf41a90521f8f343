"""All tests run on one thread, draw the same examples in every run, and know no Ray but their own."""

import functools
import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from tests import shared

settings.register_profile("repeatable", deadline=None, derandomize=True, database=None, max_examples=25)
settings.load_profile("repeatable")

OPENED = pytest.StashKey[bool]()

SMALL_FILE = 2**16
"""Bytes of a table that is parsed once."""

gc.disable()  # until all is collected: imports and tests stay


def pytest_configure(config):
    """Whatever looks for a Ray that runs finds the address of one that does not, and never comes to an end."""
    config.stash[OPENED] = shared.open_folder()
    os.environ["RAY_TMPDIR"] = os.environ[shared.FOLDER]
    os.environ.pop("RAY_ADDRESS", None)
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  Ray's name; else sweeps wait for every test beside them
    address = Path(os.environ[shared.FOLDER], "ray", "ray_current_cluster")
    address.parent.mkdir(exist_ok=True)
    address.write_text("127.0.0.1:9")
    if not config.getoption("numprocesses", None):  # of workers, this process runs no test
        import torch

        torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """First what waits longest for what is made once: one process begins with it, and no other comes to wait, too."""
    items.sort(key=lambda item: "left_behind" not in item.nodeid)


def pytest_collection_finish():
    """What was imported stays, and is not looked through for garbage; nor is what lives long, again and again."""
    gc.enable()
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def pytest_sessionfinish():
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()


def pytest_unconfigure(config):
    if config.stash[OPENED]:
        shared.drop_folder()


@pytest.fixture(scope="session")
def swept():
    """The small study, run once by the command a user types; the folder it ran in, and what it printed."""
    from tests.small import SMALL, add_database, sweep_apart

    def make(folder):
        (folder / "small.yaml").write_text(SMALL)
        add_database(folder)
        done = sweep_apart(folder)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout, done.stderr

    folder, printed = shared.once("swept", make)
    return folder, subprocess.CompletedProcess("sweep", 0, *printed)


@pytest.fixture(scope="session", autouse=True)
def moments_once():
    """Opacus computes the Renyi moments of one step again for each epsilon and number of steps; here once."""
    from mia_core import vision  # noqa: F401  before opacus, which reaches torchvision

    # isort: split
    from opacus.accountants.analysis import rdp

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rdp, "_compute_rdp", functools.cache(rdp._compute_rdp))
        yield


@pytest.fixture(scope="session", autouse=True)
def tables_once():
    """A small Parquet file is parsed and checked once, wherever a store has the same bytes again."""
    from study.store import manifests, passes, schema, verifying

    once = functools.lru_cache(maxsize=1024)(schema.from_parquet)

    def parsed(data, name=None, encoded=()):
        return (once if len(data) <= SMALL_FILE else schema.from_parquet)(bytes(data), name, tuple(encoded))

    with pytest.MonkeyPatch.context() as patch:
        for module in (manifests, passes, verifying):
            patch.setattr(module, "from_parquet", parsed)
        yield


@pytest.fixture(scope="session", autouse=True)
def digits_once():
    """scikit-learn reads its digits from a table of text; here once."""
    from sklearn import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load_digits", functools.cache(datasets.load_digits))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_power_fails():
    """Processes end here, and no machine: what is written need not reach a disk, which tests would wait for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True)
def shared_cache(monkeypatch):
    """What is known of noise and epsilon is computed once in a run of the tests, as on a user's machine."""
    monkeypatch.setenv("MIA_STUDY_CACHE", str(Path(os.environ[shared.FOLDER]) / "cache"))


@pytest.fixture
def cache_of_test(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, of this test alone."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("MIA_STUDY_CACHE", str(folder))
    return folder
