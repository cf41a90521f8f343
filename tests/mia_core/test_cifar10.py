import hashlib
import pickle
import struct

import numpy as np
import pytest

from mia_core.data import SOURCES, cifar10, load_pool
from mia_core.vision import torchvision

COUNT = 3


def short(text):
    """A Python 2 `str` of the pickle protocol."""
    return b"U" + bytes([len(text)]) + text


def number(value):
    return b"J" + struct.pack("<i", value)


def python2_batch(images, labels, dtype=b"u1", fortran=b"\x89"):
    """A batch byte for byte as Python 2's cPickle wrote it: protocol 2, `str` keys, an array from numpy.core."""
    data = images.tobytes()
    rows, columns = images.shape
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n"
        + b"cnumpy\nndarray\n"
        + (number(0) + b"\x85" + short(b"b") + b"\x87R")
        + b"("
        + number(1)
        + (number(rows) + number(columns) + b"\x86")
        + (b"cnumpy\ndtype\n" + short(dtype) + number(0) + number(1) + b"\x87R")
        + (b"(" + number(3) + short(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb")
        + fortran
        + (b"T" + struct.pack("<i", len(data)) + data)
        + b"tb"
    )
    items = short(b"data") + array + short(b"labels") + b"](" + b"".join(map(number, labels)) + b"e"
    names = short(b"filenames") + b"](" + b"".join(short(b"x.png") for _ in labels) + b"e"
    return b"\x80\x02}(" + short(b"batch_label") + short(b"training batch 1 of 5") + items + names + b"u."


def batches():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6 * COUNT, 3072), dtype=np.uint8)
    return images, rng.integers(0, 10, 6 * COUNT).tolist()


def python_files():
    images, labels = batches()
    parts = [slice(COUNT * i, COUNT * (i + 1)) for i in range(6)]
    return {name: python2_batch(images[part], labels[part]) for name, part in zip(cifar10.BATCHES, parts, strict=True)}


def binary_files():
    images, labels = batches()
    rows = [bytes([label]) + image.tobytes() for image, label in zip(images, labels, strict=True)]
    return {f"{name}.bin": b"".join(rows[COUNT * i : COUNT * (i + 1)]) for i, name in enumerate(cifar10.BATCHES)}


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def load(root, **settings):
    return load_pool(SOURCES.choose({"name": "cifar10", "root": str(root), **settings}))


def test_the_batch_of_these_tests_is_one_that_numpy_and_pickle_read():
    images, labels = batches()
    batch = pickle.loads(python2_batch(images, labels), encoding="bytes")
    assert np.array_equal(batch[b"data"], images)
    assert batch[b"labels"] == labels


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("version", ["py", "bin"])
def test_both_versions_give_training_batches_first_then_the_test_batch(tmp_path, version, inside):
    files = python_files() if version == "py" else binary_files()
    write(tmp_path / f"cifar-10-batches-{version}" if inside else tmp_path, files)
    images, labels = batches()
    pool = load(tmp_path)
    assert np.array_equal(pool.images, images.reshape(-1, 3, 32, 32))
    assert pool.labels.tolist() == labels
    assert len(set(pool.groups)) == 6 * COUNT


def test_pixels_are_planes_of_red_green_and_blue_in_rows(tmp_path):
    red_top = np.zeros((COUNT, 3, 32, 32), dtype=np.uint8)
    red_top[:, 0, 0] = 255
    files = python_files() | {"data_batch_1": python2_batch(red_top.reshape(COUNT, -1), [0] * COUNT)}
    assert np.array_equal(load(write(tmp_path, files)).images[:COUNT], red_top)


def test_a_fraction_and_a_size_can_be_chosen(tmp_path):
    write(tmp_path, binary_files())
    images, labels = batches()
    pool, other = load(tmp_path, fraction=0.5), load(tmp_path, fraction=0.5, seed=1)
    assert len(pool) == len(other) == 9
    chosen = [int(np.flatnonzero((images == image.reshape(-1)).all(1))[0]) for image in pool.images]
    assert chosen == sorted(set(chosen))
    assert pool.labels.tolist() == [labels[i] for i in chosen]
    assert pool.digest != other.digest
    assert pool.digest == load(tmp_path, fraction=0.5).digest
    assert load(tmp_path, size=64).image_shape == (3, 64, 64)


class Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("protocol", range(6))
def test_a_hostile_pickle_is_refused_and_nothing_of_it_is_executed(tmp_path, protocol):
    trap = tmp_path / "executed"
    data = pickle.dumps({"data": Hostile(trap), "labels": []}, protocol)
    pickle.loads(data)
    assert trap.exists()
    trap.unlink()
    write(tmp_path / "data", python_files() | {"data_batch_3": data})
    with pytest.raises(ValueError, match=r"data_batch_3 is no batch of CIFAR-10: it names \w+\.open, which is refused"):
        load(tmp_path / "data")
    assert not trap.exists()


@pytest.mark.parametrize(
    "name",
    ["os\nsystem", "builtins\neval", "numpy\nload", "numpy.core.multiarray\nfromfile", "copyreg\n_reconstructor",
     "mia_core.data.cifar10\n_reconstruct", "numpy.testing\ndtype", "_codecs\nencode"],
)  # fmt: skip
def test_only_the_names_of_an_array_are_known(tmp_path, name):
    write(tmp_path, python_files() | {"test_batch": b"\x80\x02c" + name.encode() + b"\n."})
    with pytest.raises(ValueError, match="test_batch is no batch of CIFAR-10: it names"):
        load(tmp_path)


def whole(**changes):
    images, labels = batches()
    return python2_batch(images[:COUNT], **{"labels": labels[:COUNT], **changes})


BROKEN = {
    "empty": (b"", "no batch of CIFAR-10"),
    "truncated": (whole()[:2000], "no batch of CIFAR-10"),
    "another object": (pickle.dumps([1, 2]), "no batch of CIFAR-10"),
    "no data": (pickle.dumps({b"labels": [1]}, 2), "no batch of CIFAR-10"),
    "floats": (whole(dtype=b"f4"), "its array is not of unsigned bytes"),
    "columns first": (whole(fortran=b"\x88"), "its array is not of unsigned bytes"),
    "too few labels": (whole(labels=[1]), r"images \[3, 3072\] and 1 labels do not fit"),
    "a label of 10": (whole(labels=[1, 10, 2]), "has label 10, and CIFAR-10 has 0 to 9"),
    "a label of 300": (whole(labels=[1, 300, 2]), "no batch of CIFAR-10"),
    "a negative label": (whole(labels=[1, -1, 2]), "no batch of CIFAR-10"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_pickle_is_named(tmp_path, name):
    data, message = BROKEN[name]
    write(tmp_path, python_files() | {"data_batch_2": data})
    with pytest.raises(ValueError, match=f"data_batch_2 .*{message}"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "has 0 bytes"), (b"\0" * 3072, "no multiple of 3073"), (b"\x0a" + b"\0" * 3072, "has label 10")],
)
def test_a_broken_binary_batch_is_named(tmp_path, data, message):
    write(tmp_path, binary_files() | {"data_batch_4.bin": data})
    with pytest.raises(ValueError, match=f"data_batch_4.bin .*{message}"):
        load(tmp_path)


def test_one_missing_batch_and_a_missing_data_set_are_named(tmp_path):
    with pytest.raises(
        ValueError, match=r"CIFAR-10 is not in .*get it with data.download=true, or from https://www.cs"
    ):
        load(tmp_path)
    files = python_files()
    del files["data_batch_5"]
    write(tmp_path, files)
    with pytest.raises(ValueError, match="data_batch_5 cannot be read: No such file"):
        load(tmp_path)


def test_download_is_believed_by_its_md5_only(tmp_path, serve, make_tar_gz, monkeypatch):
    data = make_tar_gz({f"cifar-10-batches-py/{name}": batch for name, batch in python_files().items()})
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", serve("cifar-10-python.tar.gz", data))
    with pytest.raises(
        ValueError, match=r"data.download: http.* has md5 \w{32}, expected c58f30108f718f92721af3b95e74349a"
    ):
        load(tmp_path / "data", download=True)
    assert list((tmp_path / "data").iterdir()) == []
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "tgz_md5", hashlib.md5(data).hexdigest())
    assert load(tmp_path / "data", download=True).labels.tolist() == batches()[1]
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", "http://127.0.0.1:9/gone")
    assert len(load(tmp_path / "data", download=True)) == 6 * COUNT
