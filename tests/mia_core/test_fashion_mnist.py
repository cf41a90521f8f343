import gzip
import hashlib
import struct

import numpy as np
import pytest

from mia_core.data import SOURCES, fashion_mnist, load_pool
from mia_core.vision import torchvision

NAMES = [f"{half}-{kind}" for half in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]


def idx(array):
    """LeCun's format: 0, 0, type 8 (unsigned byte), dimensions, big-endian sizes, bytes."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write(folder, name, data, packed):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(data) if packed else data)


def records(train=6, test=4):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (count, 28, 28), dtype=np.uint8) for count in (train, test)]
    labels = [rng.integers(0, 10, count, dtype=np.uint8) for count in (train, test)]
    return dict(zip(NAMES, (images[0], labels[0], images[1], labels[1]), strict=True))


def load(folder, **settings):
    return load_pool(SOURCES.choose({"name": "fashion_mnist", "root": str(folder), **settings}))


def fill(folder, packed=True, arrays=None):
    arrays = arrays or records()
    for name, array in arrays.items():
        write(folder, name, idx(array), packed)
    return arrays


@pytest.mark.parametrize("packed", [True, False], ids=["gz", "plain"])
@pytest.mark.parametrize("below", ["", "FashionMNIST/raw"], ids=["flat", "torchvision"])
def test_idx_files_are_read_train_half_first(tmp_path, packed, below):
    arrays = fill(tmp_path / below, packed)
    pool = load(tmp_path)
    assert pool.name == "fashion_mnist"
    assert np.array_equal(pool.images[:, 0], np.concatenate([arrays[NAMES[0]], arrays[NAMES[2]]]))
    assert np.array_equal(pool.labels, np.concatenate([arrays[NAMES[1]], arrays[NAMES[3]]]))
    assert pool.labels.dtype == np.int64
    assert len(set(pool.groups)) == 10


def test_first_records_and_size_can_be_chosen(tmp_path):
    arrays = fill(tmp_path)
    pool = load(tmp_path, records=7, size=16)
    assert pool.images.shape == (7, 1, 16, 16)
    assert np.array_equal(pool.labels, np.concatenate([arrays[NAMES[1]], arrays[NAMES[3]]])[:7])


def test_a_missing_folder_says_where_was_looked_and_how_to_get_it(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"nowhere.*apt-get install dataset-fashion-mnist.*download=true"):
        load(tmp_path / "nowhere")
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"debian or data/FashionMNIST/raw.*apt-get"):
        load_pool(SOURCES.choose("fashion_mnist"))


@pytest.mark.parametrize("name", NAMES[1:])
def test_one_missing_file_is_named(tmp_path, name):
    fill(tmp_path)
    (tmp_path / f"{name}.gz").unlink()
    with pytest.raises(ValueError, match=f"{name}.* is missing"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "length"),
    [(NAMES[0], length) for length in (0, 3, 4, 6, 15, 16, 100, -1)] + [(NAMES[3], length) for length in (0, 7, 8, -1)],
)
def test_a_truncated_plain_file_is_named(tmp_path, name, length):
    arrays = fill(tmp_path, packed=False)
    write(tmp_path, name, idx(arrays[name])[:length], False)
    with pytest.raises(ValueError, match=name):
        load(tmp_path)


def test_bytes_after_the_last_record_are_refused(tmp_path):
    arrays = fill(tmp_path)
    write(tmp_path, NAMES[0], idx(arrays[NAMES[0]]) + b"\0", True)
    with pytest.raises(ValueError, match=f"{NAMES[0]}.gz is not a whole IDX file"):
        load(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.99])
def test_a_truncated_gzip_file_is_named(tmp_path, share):
    fill(tmp_path)
    path = tmp_path / f"{NAMES[0]}.gz"
    packed = path.read_bytes()
    path.write_bytes(packed[: int(share * len(packed))])
    with pytest.raises(ValueError, match=path.name):
        load(tmp_path)


@pytest.mark.parametrize("place", [0, 10, 30, 2000, -6])
def test_a_gzip_file_with_a_damaged_byte_is_named(tmp_path, place):
    fill(tmp_path)
    path = tmp_path / f"{NAMES[0]}.gz"
    packed = bytearray(path.read_bytes())
    packed[place] ^= 0xFF
    path.write_bytes(bytes(packed))
    with pytest.raises(ValueError, match=path.name):
        load(tmp_path)


@pytest.mark.parametrize("head", [b"\0\0\x09\x03", b"\x01\0\x08\x03", b"\x03\x08\0\0", b"\0\0\x08\0"], ids=repr)
def test_a_wrong_magic_number_is_refused(tmp_path, head):
    arrays = fill(tmp_path)
    write(tmp_path, NAMES[0], head + idx(arrays[NAMES[0]])[4:], True)
    with pytest.raises(ValueError, match=f"{NAMES[0]}.gz is not a whole IDX file"):
        load(tmp_path)


def test_images_and_labels_of_different_counts_are_refused(tmp_path):
    fill(tmp_path, arrays={**records(), NAMES[1]: np.zeros(5, dtype=np.uint8)})
    with pytest.raises(ValueError, match="are not of one half"):
        load(tmp_path)


@pytest.mark.parametrize("settings", [{}, {"records": 8}], ids=str)
def test_halves_whose_labels_are_shifted_are_refused(tmp_path, settings):
    # 6 + 4 images and 5 + 5 labels: as many in all, but the sixth image would get the first label of the test half.
    arrays = records()
    labels = np.concatenate([arrays[NAMES[1]], arrays[NAMES[3]]])
    fill(tmp_path, arrays={**arrays, NAMES[1]: labels[:5], NAMES[3]: labels[5:]})
    with pytest.raises(ValueError, match="are not of one half"):
        load(tmp_path, **settings)


def offer(serve, monkeypatch, arrays):
    """torchvision's list of archives, with the hashes of these and a server on loopback."""
    packed = {f"{name}.gz": gzip.compress(idx(array), mtime=0) for name, array in arrays.items()}
    mirror = {serve(name, data).removesuffix(name) for name, data in packed.items()}.pop()
    dataset = torchvision.datasets.FashionMNIST
    monkeypatch.setattr(dataset, "mirrors", [mirror])
    hashes = [(name, hashlib.md5(data).hexdigest()) for name, data in packed.items()]
    monkeypatch.setattr(dataset, "resources", hashes)
    return hashes


def test_download_fetches_what_is_then_read(tmp_path, serve, monkeypatch):
    arrays = records()
    offer(serve, monkeypatch, arrays)
    pool = load(tmp_path / "data", download=True)
    assert np.array_equal(pool.images[:, 0], np.concatenate([arrays[NAMES[0]], arrays[NAMES[2]]]))


@pytest.mark.parametrize("place", range(4))
def test_a_download_that_fails_or_has_another_hash_is_refused(tmp_path, serve, monkeypatch, place):
    hashes = offer(serve, monkeypatch, records())
    hashes[place] = (hashes[place][0], "0" * 32)
    with pytest.raises(ValueError, match=r"data.download: Fashion-MNIST: "):
        load(tmp_path / "data", download=True)
    hashes[place] = ("gone.gz", "0" * 32)
    with pytest.raises(ValueError, match=r"data.download: Fashion-MNIST: .*gone.gz"):
        load(tmp_path / "data", download=True)


@pytest.mark.skipif(not fashion_mnist.DEBIAN.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_debians_files_are_the_70000_records():
    pool = load_pool(SOURCES.choose("fashion_mnist"))
    assert pool.images.shape == (70_000, 1, 28, 28)
    assert np.array_equal(np.bincount(pool.labels), np.full(10, 7_000))
    assert np.array_equal(pool.labels[:5], [9, 0, 0, 3, 0])
    assert pool.digest == "2e285dfa4523c6b2febf4cd0d4f3e125fedc4ee4597065c3a645bee262fe6c25"
