"""scikit-learn's handwritten digits: 1,797 records of 8x8 pixels that come with the package."""

import numpy as np

from mia_core.data.pool import SOURCES, Pool, Size, Source, resize
from mia_core.settings import settings


@SOURCES.register
class Digits(Source):
    """The embedded default."""

    name = "digits"

    @settings
    class Config:
        """size: height and width in pixels after resizing."""

        size: Size = 16

    config: Config

    def load(self) -> Pool:
        """1,797 records [1, size, size]; no writer is known, so every record is its own group."""
        from sklearn.datasets import load_digits  # a second of imports, which only the driver needs

        bunch = load_digits()
        gray = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
        labels = bunch.target.astype(np.int64)
        return Pool(self.name, resize(gray, self.config.size), labels, np.arange(len(labels)))
