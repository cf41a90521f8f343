import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from mia_core.data import near_duplicates
from mia_core.data.near_duplicates import closest, difference_hash, distances, near_copies, near_groups, thumbnails


def slow_bits(image):
    """The definition, one record at a time: 9 x 9 areas, then which neighbor is brighter."""
    gray = image.sum(0, dtype=int)  # whole numbers, so that ties are ties
    cells = [np.array_split(row, 9, axis=1) for row in np.array_split(gray, 9, axis=0)]
    small = np.array([[cell.sum() for cell in row] for row in cells])
    return [small[y, x + 1] > small[y, x] for y in range(8) for x in range(8)] + [
        small[y + 1, x] > small[y, x] for y in range(8) for x in range(8)
    ]


def bits_of(hashes):
    return np.unpackbits(hashes.view(np.uint8).reshape(len(hashes), 16), axis=1).astype(bool)


def test_hash_is_the_definition_one_record_at_a_time(make_images):  # 18 pixels make areas of equal size
    images = make_images(20, size=18, channels=3)
    assert np.array_equal(bits_of(difference_hash(images)), [slow_bits(image) for image in images])


@pytest.mark.parametrize("size", [8, 9, 16, 28, 64])
def test_hash_does_not_depend_on_how_the_pool_is_cut_into_blocks(make_images, monkeypatch, size):
    images = make_images(30, size=size, channels=3)
    whole = difference_hash(images)
    monkeypatch.setattr(near_duplicates, "CHUNK_BYTES", 1)
    assert np.array_equal(difference_hash(images), whole)
    assert whole.shape == (30, 2)


def test_thumbnails_are_means_of_areas(make_images):
    images = make_images(3, size=8, channels=3)
    expected = images.reshape(3, 3, 4, 2, 4, 2).mean((1, 3, 5))
    assert np.allclose(thumbnails(images, 4), expected, rtol=0, atol=1e-12)


def test_distance_counts_differing_bits(make_images):
    a, b = (difference_hash(make_images(count, size=16, seed=count)) for count in (5, 7))
    expected = (bits_of(a)[:, None] != bits_of(b)[None]).sum(2)
    assert np.array_equal(distances(a, b), expected)


def test_noise_and_brightness_hardly_change_the_hash_and_another_face_does(faces):
    rng = np.random.default_rng(0)
    noisy = np.clip(faces * 0.9 + 10 + rng.normal(0, 3, faces.shape), 0, 255).astype(np.uint8)
    between = distances(difference_hash(faces[:, None]), difference_hash(noisy[:, None]))
    assert np.diag(between).max() <= 16
    assert np.median(between[~np.eye(100, dtype=bool)]) > 32


@given(seed=st.integers(0, 99), distance=st.integers(0, 32), chunk=st.sampled_from([1, 200, 2**24]))
def test_groups_are_the_components_of_all_close_pairs(seed, distance, chunk):
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 256, (8, 1, 9, 9))
    images = np.clip(base[rng.integers(0, 8, 25)] + rng.normal(0, 25, (25, 1, 9, 9)), 0, 255).astype(np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "CHUNK_BYTES", chunk)
        patch.setattr(near_duplicates, "PAIRS", 3)
        groups = near_groups(images, distance)
    bits = np.array([slow_bits(image) for image in images])
    _, slow = connected_components((bits[:, None] != bits[None]).sum(2) <= distance, directed=False)
    assert np.array_equal(groups[:, None] == groups[None], slow[:, None] == slow[None])


def test_a_pool_of_equal_images_is_one_group():
    assert set(near_groups(np.zeros((50, 1, 8, 8), dtype=np.uint8), 0)) == {0}


@pytest.mark.parametrize("chunk", [1, 2**24])
def test_closest_is_the_first_smallest_of_all_distances(make_images, monkeypatch, chunk):
    a, b = (difference_hash(make_images(count, size=8, seed=count)) for count in (9, 300))
    table = distances(a, b)
    monkeypatch.setattr(near_duplicates, "CHUNK_BYTES", chunk)
    bits, places = closest(a, b)
    assert np.array_equal(bits, table.min(1))
    assert np.array_equal(places, table.argmin(1))


def test_near_copies_are_alike_in_hash_and_in_gray_and_smooth_images_of_one_hash_are_not(make_images, monkeypatch):
    textured = make_images(20, size=18).clip(20, 230)
    ramp = np.tile(np.linspace(0, 255, 18), (18, 1))  # one hash at any contrast
    smooth = np.stack([ramp * contrast for contrast in (0.2, 0.6, 1.0)])[:, None].round().astype(np.uint8)
    images = np.concatenate([textured, textured[:3] + np.uint8(2), textured[4:5], smooth])
    assert len(set(near_groups(images, 4)[-3:])) == 1
    expected = [*range(20), 0, 1, 2, 4, 20, 21, 22]
    for chunk in (1, 2**24):
        monkeypatch.setattr(near_duplicates, "CHUNK_BYTES", chunk)
        groups = near_copies(images, 4, 8)
        assert np.unique(groups, return_inverse=True)[1].tolist() == expected
