"""All tests run on one thread, and hypothesis draws the same examples in every run."""

from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests.small import SMALL, sweep

torch.set_num_threads(1)
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None, max_examples=25)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def swept(tmp_path_factory):
    """The small study, run once by the command a user types; the folder it ran in, and what it printed."""
    folder = tmp_path_factory.mktemp("swept")
    (folder / "small.yaml").write_text(SMALL)
    done = sweep(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done


@pytest.fixture(autouse=True)
def cache_of_test(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("MIA_STUDY_CACHE", str(folder))
    return folder
