"""Whether the noise of a study's private trainings can be drawn again by whoever knows its seed."""

from study.store.passes import Store
from study.store.reading import read

LAST_FROM_SEED = 2
"""The last format whose private trainings draw their noise from the study's seed."""

GUESSABLE = (
    "The noise of the private trainings was drawn from the study's seed, which its configuration shows and its ids are "
    "hashes over: their epsilon holds against nobody who knows or can guess that seed."
)


def noise_from_seed(store: Store) -> bool:
    """Whether a training of the current design has an epsilon whose noise was drawn from the study's seed.

    ValueError where there is no such study.
    """
    if store.pointer()["format"] > LAST_FROM_SEED:
        return False
    return bool(read(store.root, store.study, "trials")["epsilon"].notna().any())
