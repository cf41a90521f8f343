"""Whether the noise of a study's private trainings can be drawn again by whoever knows its seed."""

import pandas as pd

from study.store.passes import Store
from study.store.reading import read

SECRET = "secret"
"""In `noise_key` of a trial: drawn under a fresh key, which nothing keeps. Rows of earlier versions lack the column."""

GUESSABLE = (
    "The noise of the private trainings was drawn from the study's seed, which its configuration shows and its ids are "
    "hashes over: their epsilon holds against nobody who knows or can guess that seed."
)


def noise_from_seed(store: Store) -> bool:
    """Whether a training of the current design has an epsilon whose noise was drawn from the study's seed.

    ValueError where there is no such study.
    """
    return bool(is_guessable(read(store.root, store.study, "trials")).any())


def is_guessable(trials: pd.DataFrame) -> pd.Series:
    """Of each row of trials."""
    return trials["epsilon"].notna() & (trials["noise_key"] != SECRET)
