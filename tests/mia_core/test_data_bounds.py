"""Records that no memory and no disk holds are refused before one is read, resized or decoded."""

from collections import namedtuple

import numpy as np
import pytest
from PIL import Image

from mia_core import hardware
from mia_core.data import SOURCES, cache, decoding, load_pool, pool
from mia_core.errors import Refused


def test_records_that_memory_does_not_hold_are_not_resized(monkeypatch):
    monkeypatch.setattr(hardware, "memory_bytes", lambda: 2**30)
    monkeypatch.setattr(pool.Image, "fromarray", None)
    with pytest.raises(Refused, match=r"data\.size=1024: 1797 records .* take 3\.8 GB .*, and there are 1\.1 GB here"):
        load_pool(SOURCES.choose({"name": "digits", "size": 1024}))


def test_records_of_their_own_size_take_no_more_than_they_do(monkeypatch):
    monkeypatch.setattr(hardware, "memory_bytes", lambda: 1)
    same = np.zeros((3, 1, 8, 8), np.uint8)
    assert pool.resize(same, 8) is same


def test_records_that_the_disk_has_no_room_for_are_not_decoded(tmp_path, monkeypatch):
    for number in range(3):
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(tmp_path / f"{number}.png")
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: usage(3 * 64 - 1))
    monkeypatch.setattr(decoding, "decode", None)
    choice = {
        "name": "image_folder",
        "root": str(tmp_path),
        "size": 8,
        "channels": 1,
        "cache": str(tmp_path / "no/yet"),
    }
    with pytest.raises(Refused, match=r"data\.cache: decoded records take .* GB, and .* are free at .*yet; free some"):
        load_pool(SOURCES.choose(choice))
    monkeypatch.undo()
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: usage(3 * 64))
    assert len(load_pool(SOURCES.choose(choice))) == 3
