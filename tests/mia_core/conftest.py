"""Small pools, targets and trainers for the tests of mia_core."""

import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage.data import lfw_subset

from mia_core import models
from mia_core.data import Pool
from mia_core.defenses import Arm
from mia_core.streams import Streams
from mia_core.targets import DCGAN, TARGETS, Target
from mia_core.training import Trainer, TrainingConfig
from mia_core.training_records import Records


def images(count: int, size: int = 8, channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, channels, size, size), dtype=np.uint8)


def pool(count: int, seed: int = 0, largest_group: int = 1, copies: float = 0.0) -> Pool:
    """Random records in groups of 1 to `largest_group`; a share `copies` of the records repeats another one."""
    rng = np.random.default_rng(seed)
    records = images(count, seed=seed)
    copied = np.flatnonzero(rng.random(count) < copies)
    records[copied] = records[rng.integers(0, count, len(copied))]
    sizes = rng.integers(1, largest_group + 1, count)
    groups = rng.permutation(np.repeat(np.arange(count), sizes)[:count])
    return Pool("toy", records, rng.integers(0, 10, count), groups)


def target(name: str, size: int = 8, channels: int = 1, seed: int = 0, **config: Any) -> Target:
    latent = {} if name == "ddpm" else {"latent": 8}
    choice = TARGETS.choose({"name": name, "width": 4, **latent, **config})
    built = choice.build((channels, size, size))
    built.initialize(Streams(seed))
    return built


def dcgan(size: int = 8, channels: int = 1, seed: int = 0, **config: Any) -> DCGAN:
    return target("dcgan", size, channels, seed, **config)


def trainer(
    arm: Any = "none",
    count: int = 13,
    batch_size: int = 4,
    seed: int = 5,
    noise: int = 9,
    generator_every: int = 1,
    name: str = "dcgan",
    horizon: int | None = None,
    **config: Any,
) -> Trainer:
    """By default 13 records in batches of 4: epochs end after 4, 7, 10 and 13 steps. noise: of a private arm's key."""
    return Trainer(
        target(name, **config),
        Records(images(count, config.get("size", 8), config.get("channels", 1)), count),
        TrainingConfig(batch_size=batch_size, learning_rate=2e-3, generator_every=generator_every),
        Arm.parse(arm),
        Streams(seed),
        bytes([noise]) * 32,
        horizon=horizon,
    )


def two_sided_p(statistic: float, distribution: Any) -> float:
    """p of a statistic against a frozen scipy distribution; a test that asks for more than 1e-6 errs once in 1e6."""
    return 2 * min(distribution.cdf(statistic), distribution.sf(statistic))


@pytest.fixture(autouse=True)
def own_cache(cache_of_test: Path) -> None:
    """Nothing of another test is taken for decoded, or computed."""


@pytest.fixture(scope="session")
def make_images() -> Callable[..., np.ndarray]:
    return images


@pytest.fixture(scope="session")
def make_pool() -> Callable[..., Pool]:
    return pool


@pytest.fixture(scope="session")
def plain() -> Pool:
    """600 records, each a group of its own."""
    return pool(600)


@pytest.fixture(scope="session")
def grouped() -> Pool:
    """600 records in groups of one or two; some repeat another one."""
    return pool(600, largest_group=2, copies=0.02)


@pytest.fixture(scope="session")
def make_target() -> Callable[..., Target]:
    return target


@pytest.fixture(scope="session")
def make_dcgan() -> Callable[..., DCGAN]:
    return dcgan


@pytest.fixture(scope="session")
def make_trainer() -> Callable[..., Trainer]:
    return trainer


@pytest.fixture(scope="session")
def p_value() -> Callable[[float, Any], float]:
    return two_sided_p


@pytest.fixture(scope="session")
def faces() -> np.ndarray:
    """uint8 [100, 25, 25]: gray faces of Labeled Faces in the Wild, cut out, that come with scikit-image."""
    return (lfw_subset()[:100] * 255).round().astype(np.uint8)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Put files on a web server on loopback: `serve(name, data)` gives the address of one."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def put(name: str, data: bytes) -> str:
            (folder / name).write_bytes(data)
            return f"http://127.0.0.1:{server.server_port}/{name}"

        yield put
        server.shutdown()


def tar_gz(files: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return sink.getvalue()


@pytest.fixture(scope="session")
def make_tar_gz() -> Callable[[dict[str, bytes]], bytes]:
    return tar_gz


@pytest.fixture(scope="module")
def small_chunks() -> Iterator[None]:
    """Models draw and judge 64 images at once in place of 256, so that a few samples cost no whole chunk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "CHUNK", 64)
        yield


@pytest.fixture(scope="module")
def repeatable() -> Iterator[None]:
    """As a study computes: an operation without a kernel that repeats its bits raises."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)
