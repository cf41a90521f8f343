import numpy as np
import pytest
from sklearn.datasets import load_digits

from mia_core.data import SOURCES, load_pool

DIGESTS = {
    8: "ca10e06c52a247ab346d4ea060e5be594ab0ec20c57cdd4437e6341db54d2b53",
    16: "9ca000cbeeb5eb274b98afad16e8b9a2511b3ac3333a0936bc8eb39d5e8890b7",
}


def load(size):
    return load_pool(SOURCES.choose({"name": "digits", "size": size}))


@pytest.mark.parametrize("size", [8, 16])
def test_pool_has_the_same_bytes_on_every_machine_and_day(size):
    pool = load(size)
    assert pool.images.shape == (1797, 1, size, size)
    assert pool.image_shape == (1, size, size)
    assert pool.images.dtype == np.uint8
    assert pool.digest == DIGESTS[size]


def test_gray_values_are_sklearns_spread_over_a_byte():
    pool, bunch = load(8), load_digits()
    assert np.array_equal(pool.images[:, 0], np.rint(bunch.images / 16 * 255).astype(np.uint8))
    assert pool.images.min() == 0
    assert pool.images.max() == 255
    assert np.array_equal(pool.labels, bunch.target)


def test_every_record_is_a_unit_of_its_own():
    assert len(np.unique(load(16).units)) == 1797


def test_default_is_16_pixels():
    assert load_pool(SOURCES.choose("digits")).digest == DIGESTS[16]


def test_fewer_than_8_pixels_are_refused():
    with pytest.raises(ValueError, match=r"size: .*greater than or equal to 8 \(got 7\)"):
        SOURCES.choose({"name": "digits", "size": 7})
