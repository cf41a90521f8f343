"""Stores that hold texts of somebody else; and after each test, whether one was run."""

import shutil

import matplotlib.pyplot as plt
import pytest

from study.store import Store
from study.tracking import pictures
from tests.hostile.kinds import ALL, CANARY, HITS
from tests.hostile.pages import Parsed
from tests.hostile.places import made, some_texts
from tests.hostile.readers import report
from tests.undrawn import draw_nothing


@pytest.fixture(autouse=True)
def canary():
    """After each test: no text was run."""
    yield
    assert not CANARY.exists()
    assert not HITS
    plt.close("all")


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    """Of two targets in three replicates."""
    return made(tmp_path_factory.mktemp("sound"))


@pytest.fixture(scope="session")
def smallest(tmp_path_factory):
    """Of one trial."""
    return made(tmp_path_factory.mktemp("smallest"), "replicates=1", "factors.target.norm=[group]")


@pytest.fixture(scope="session")
def forged(sound, tmp_path_factory):
    """A study of one cell with one text wherever that is no name; made once a kind."""
    stores = {}
    one = made(tmp_path_factory.mktemp("one"), "factors.target.norm=[group]")

    def of(kind, text):
        if kind not in stores:
            folder = tmp_path_factory.mktemp("forged") / "small"
            stores[kind] = Store.at(shutil.copytree((sound if kind == ALL else one).folder, folder))
            some_texts(stores[kind], text)
        return stores[kind]

    return of


@pytest.fixture
def undrawn(monkeypatch):
    draw_nothing(monkeypatch)


@pytest.fixture
def unpictured(monkeypatch):
    """Runs of MLflow without the picture of their ROC, whose texts are names."""
    monkeypatch.setattr(pictures, "roc_picture", lambda *arguments: None)


@pytest.fixture(scope="session")
def clean(sound, tmp_path_factory):
    """What a page of the sound study is made of."""
    out = tmp_path_factory.mktemp("clean") / "report.html"
    assert report([str(sound.folder), "--out", str(out), "--include-records"]) == 0
    return Parsed(out.read_text())
