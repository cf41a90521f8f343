"""Only regular files are read, whole, and no larger than they may be."""

import gzip
import os

import pytest

from mia_core.data import SOURCES, load_pool
from mia_core.data.fashion_mnist import MOST_BYTES, _read_idx
from mia_core.data.label_table import read_table
from mia_core.opening import open_lock, read_regular
from tests.hostile import FILES

pytestmark = pytest.mark.timeout(60)  # a pipe or a device that is read would never end


@pytest.fixture
def sound(tmp_path):
    path = tmp_path / "sound"
    path.write_bytes(b"12345")
    return path


WORDS = {
    "pipe": "is a pipe, and no regular file",
    "socket": "is a socket, and no regular file",
    "endless": "is a device, and no regular file",
    "loop": "is a link, and no regular file",
    "folder": "is a folder, and no regular file",
    "huge": "has 1099511627776 bytes, and may have 5",
}


@pytest.mark.parametrize("kind", WORDS)
def test_what_is_no_file_of_that_size_is_refused_at_once_and_named(kind, tmp_path, sound):
    FILES[kind](tmp_path / "odd", sound)
    with pytest.raises(OSError) as error:
        read_regular(tmp_path / "odd", 5)
    assert error.value.strerror == WORDS[kind]


def test_a_regular_file_is_read_up_to_its_limit_and_a_link_only_where_that_is_wanted(tmp_path, sound):
    FILES["out"](tmp_path / "link", sound)
    FILES["empty"](tmp_path / "empty", sound)
    assert read_regular(sound, 5) == read_regular(tmp_path / "link", 5) == b"12345"
    assert read_regular(tmp_path / "empty", 0) == b""
    with pytest.raises(OSError, match="has 5 bytes, and may have 4"):
        read_regular(sound, 4)
    with pytest.raises(OSError, match="is a link"):
        read_regular(tmp_path / "link", 5, follow=False)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none", 5)


def test_a_file_that_grows_while_it_is_read_is_refused(sound, monkeypatch):
    stat = os.fstat

    def grown(descriptor):
        found = stat(descriptor)
        with sound.open("ab") as file:
            file.write(b"6")
        return found

    monkeypatch.setattr(os, "fstat", grown)
    with pytest.raises(OSError, match="grows while it is read"):
        read_regular(sound, 100)


@pytest.mark.parametrize("kind", sorted(FILES.keys() - {"empty", "huge"}))
def test_a_lock_is_made_and_never_taken_through_what_is_no_file(kind, tmp_path, sound):
    FILES[kind](tmp_path / "odd", sound)
    with pytest.raises(OSError):
        open_lock(tmp_path / "odd")
    with open_lock(sound), open_lock(tmp_path / "new"):
        pass
    assert sound.read_bytes() == b"12345"
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", sorted(FILES.keys() - {"out"}))
def test_a_table_of_labels_that_is_no_file_is_refused(kind, tmp_path, sound):
    FILES[kind](tmp_path / "odd.csv", sound)
    with pytest.raises(ValueError, match=r"data\.labels: .*odd\.csv"):
        read_table(tmp_path / "odd.csv", ["file"])


def test_a_batch_of_cifar_10_that_is_a_pipe_is_refused(tmp_path):
    FILES["empty"](tmp_path / "data_batch_1.bin", None)
    for number in (2, 3, 4, 5):
        FILES["pipe"](tmp_path / f"data_batch_{number}.bin", None)
    FILES["pipe"](tmp_path / "test_batch.bin", None)
    with pytest.raises(ValueError, match="data: "):
        load_pool(SOURCES.choose({"name": "cifar10", "root": str(tmp_path)}))


@pytest.mark.long
def test_a_file_that_unpacks_to_more_than_any_published_one_is_refused(tmp_path):
    with gzip.open(tmp_path / "a.gz", "wb", compresslevel=1) as file:
        file.write(b"\0\0\x08\x01" + (MOST_BYTES + 5).to_bytes(4, "big"))
        for _ in range(MOST_BYTES // 2**20 + 1):
            file.write(bytes(2**20))
    with pytest.raises(ValueError, match="not a whole IDX file"):
        _read_idx(tmp_path, "a")
