"""Folders to try `mia-study release` on: `python examples/three_folders.py FOLDER`.

Of scikit-learn's digits, FOLDER gets `train/` (750 training records), `others/` (750 that were not trained on), and two
folders of 1,000 noisy samples. One in ten samples of `copying/` shows a training record, which leaks by construction;
`fair/` never shows one. All other samples show digits that are in neither `train/` nor `others/`.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

RECORDS, SAMPLES = 750, 1000
COPIED = 0.1
"""The share of samples in `copying/` that show a training record."""


def main(folder: Path) -> None:
    """Write the four folders."""
    random = np.random.default_rng(1)
    digits = random.permutation(load_digits().images) * (255 / 16)
    train, others, further = np.split(digits, [RECORDS, 2 * RECORDS])
    write(folder / "train", train)
    write(folder / "others", others)
    for name, share in (("copying", COPIED), ("fair", 0.0)):
        shown = np.where(
            (random.random(SAMPLES) < share)[:, None, None],
            train[random.integers(0, len(train), SAMPLES)],
            further[random.integers(0, len(further), SAMPLES)],
        )
        write(folder / name, shown + random.normal(0, 8, shown.shape))


def write(folder: Path, images: np.ndarray) -> None:
    """PNG files of images [N,8,8] in 0 to 255."""
    folder.mkdir(parents=True)
    for number, image in enumerate(images.clip(0, 255).round().astype(np.uint8)):
        Image.fromarray(image).save(folder / f"{number:04d}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
