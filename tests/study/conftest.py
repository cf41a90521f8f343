import pytest

from mia_core.data import load_pool
from study.design.study_design import Design
from study.store import Store
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
