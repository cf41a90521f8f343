import os

import pytest

from mia_core.data import load_pool
from study.design.study_design import Design
from study.store import Store
from tests.object_store import BUCKET, object_store
from tests.small import small_spec


@pytest.fixture
def make_design():
    """A design of the small study, with overrides; and its pool is loaded once."""
    pools = {}

    def make(*overrides):
        spec = small_spec(*overrides)
        key = str(spec.data)
        pools.setdefault(key, load_pool(spec.data))
        return Design(spec, pools[key])

    return make


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results", "small")


@pytest.fixture
def plain_pictures(request, monkeypatch):
    """A trial's ROC in MLflow is drawn only in tests that are marked `pictures`; it takes a tenth of a second."""
    if not request.node.get_closest_marker("pictures"):
        monkeypatch.setattr("study.tracking.pictures.roc_picture", lambda attacks, scores, title: title.encode())


@pytest.fixture(scope="session")
def server():
    """A server of buckets on loopback: the environment that leads to it."""
    with object_store() as environment:
        yield environment


@pytest.fixture
def bucket(server, monkeypatch, request):
    """A results root of this test alone; the environment leads to the server."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{abs(hash(request.node.nodeid))}/results"
