"""scikit-learn's handwritten digits: 1,797 records of 8 x 8 pixels, which are part of the package."""

import numpy as np

from mia_core.data.pool import SOURCES, Pool, Size, Source, resize
from mia_core.settings import settings


@SOURCES.register
class Digits(Source):
    """The default data set, which needs no download."""

    name = "digits"

    @settings
    class Config:
        """size: height and width in pixels after resizing."""

        size: Size = 16

    config: Config

    def load(self) -> Pool:
        """uint8 [1797, 1, size, size]; writers are unknown, so every record is its own group."""
        from sklearn.datasets import load_digits  # takes a second to import, and only the driver needs it

        bunch = load_digits()
        gray = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
        labels = bunch.target.astype(np.int64)
        return Pool(self.name, resize(gray, self.config.size), labels, np.arange(len(labels)))
