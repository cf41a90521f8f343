"""The storage of results, tried from a worker before any work: it may see something else there than the driver."""

import pytest
import ray

from study.run import scheduling
from study.run.local_ray import local_ray
from study.run.scheduling import require_workers_storage
from study.store import Store


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with local_ray(None, 0):
        yield


def test_storage_that_a_worker_shares_passes_and_nothing_is_left_there(store):
    require_workers_storage(store)
    assert list(store.folder.iterdir()) == []


def elsewhere(monkeypatch, folder, prepare):
    """Workers that find another folder where the driver has its own, as on another machine."""

    @ray.remote(num_cpus=0)
    def tried(root, study, name, nonce):
        other = Store(folder, study)
        prepare(other, name)
        return ray.get(plain.remote(other.root, study, name, nonce))

    plain = scheduling._try_storage
    monkeypatch.setattr(scheduling, "_try_storage", tried)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda store, name: None, "does not see what the driver writes"),
        (lambda store, name: store.place.write(name, b"another"), "sees other files there than the driver"),
    ],
)
def test_a_worker_that_sees_another_folder_is_refused_in_one_line(store, tmp_path, monkeypatch, prepare, message):
    elsewhere(monkeypatch, tmp_path / "elsewhere", prepare)
    with pytest.raises(ValueError, match=message) as refused:
        require_workers_storage(store)
    assert "\n" not in str(refused.value)
    assert not list(store.folder.iterdir())
