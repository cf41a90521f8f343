"""Spaces that images are compared in: the same points as scikit-learn, scikit-image and numpy have them."""

import numpy as np
import pytest
import torch
from skimage.feature import hog
from sklearn.decomposition import PCA

from mia_core.spaces import ColorHistogram, Features, Hog, Pca, Pixels, embedded
from mia_core.streams import Streams


def images(count, size=16, channels=1, seed=0):
    return torch.rand(count, channels, size, size, generator=Streams(seed).torch("images")) * 2 - 1


@pytest.mark.parametrize(("records", "size"), [(300, 8), (30, 16)])  # more records than pixels, and fewer
def test_principal_components_are_those_of_scikit_learn(records, size):
    reference, others = images(records, size, 3), images(9, size, 3, seed=1)
    found = embedded(Pca(reference, 5), others)
    expected = (
        PCA(5, svd_solver="full").fit(reference.flatten(1).double().numpy()).transform(others.flatten(1).double())
    )
    np.testing.assert_allclose(found.abs(), np.abs(expected), rtol=1e-4, atol=1e-5)


def test_there_are_no_more_components_than_directions_in_which_records_differ():
    flat = torch.zeros(20, 1, 8, 8)
    flat[:, 0, :2, 0] = images(20, 8)[:, 0, :2, 0]
    space = Pca(flat, 40)
    assert embedded(space, flat).shape == (20, 2)
    torch.testing.assert_close(torch.cdist(embedded(space, flat), embedded(space, flat)), torch.cdist(
        flat.flatten(1), flat.flatten(1)), rtol=1e-4, atol=1e-5)  # fmt: skip
    with pytest.raises(ValueError, match="PCA: 20 reference records do not differ"):
        Pca(torch.zeros(20, 1, 8, 8), 3)


@pytest.mark.parametrize(("size", "channels"), [(16, 1), (32, 3)])
def test_oriented_gradients_are_those_of_scikit_image(size, channels):
    found, side = embedded(Hog(), images(6, size, channels)), size // 4
    for image, points in zip(images(6, size, channels).double().numpy(), found, strict=True):
        expected = hog(
            image.transpose(1, 2, 0), 9, (side, side), (2, 2), "L2", feature_vector=False, channel_axis=-1
        )  # block down, block across, cell down, cell across, orientation
        blocks = points.reshape(4, 9, 3, 3).permute(2, 3, 0, 1).reshape(3, 3, 2, 2, 9)
        np.testing.assert_allclose(blocks, expected, atol=1e-5)


def test_a_color_histogram_counts_pixels_of_each_channel():
    x = images(5, 8, 3)
    x[0, 0] = 1.0
    found = embedded(ColorHistogram(10), x).reshape(5, 3, 10)
    for image, points in zip(x.numpy(), found, strict=True):
        for channel, shares in zip(image, points, strict=True):
            np.testing.assert_allclose(shares, np.histogram(channel, 10, (-1, 1))[0] / 64, atol=1e-6)


def test_spaces_are_equal_where_they_embed_alike():
    reference = images(30)
    assert Pixels() == Pixels()
    assert Hog() != Hog(cells=2)
    same, other = Pca(reference.clone(), 3), Pca(images(30, seed=1), 3)
    assert len({Pca(reference, 3), same, other, Pca(reference, 4)}) == 3
    assert Features(torch.sin) == Features(torch.sin) != Features(torch.cos)
