"""How large a study may be: counted by arithmetic before any of it is built, so that a refusal takes no time."""

from collections.abc import Iterable

from mia_core.errors import Refused, shorten

MOST_LEVELS = 1000
"""Of one factor, arms and targets among them."""
MOST_POINTS = 100_000
"""Combinations of levels: cells of a grid, or points that are drawn. Each takes a third of a millisecond to check."""
MOST_TRIALS = 1_000_000
"""Each takes 0.2 ms and 19 KB of the driver, see docs/scale.md."""
MOST_ROWS = 20_000_000
"""Attacks at all of their levels, over all trials; each is a row of the design."""
MOST_STEPS = 10**9
"""Updates of one trajectory. At a millisecond each these are eleven days."""
MOST_ATTACK_LEVELS = 1000
"""Of all attacks of a study together."""
BEYOND = 10**18
"""Products are followed so far: what is larger is only said to be."""


def product(counts: Iterable[int]) -> int:
    """Of positive numbers; once it is above BEYOND, that and one."""
    total = 1
    for count in counts:
        total *= count
        if total > BEYOND:
            return BEYOND + 1
    return total


def require_at_most(count: int, most: int, where: str, what: str, way_out: str) -> None:
    """Refused for more than `most`. what: the things counted. way_out: what to change."""
    if count > most:
        raise Refused(
            f"{where}: {words(count)} {what} are more than the {words(most)} that a study may have; {way_out}"
        )


def require_trials(cells: int, levels: int, replicates: int) -> None:
    """Refused for more trials than a study may have. levels: of the budget, in each cell."""
    count = product((cells, levels, replicates))
    if count > MOST_TRIALS:
        raise Refused(
            f"factors: {words(cells)} combinations x {words(levels)} levels x replicates={words(replicates)} are "
            f"{words(count)} trials, and a study may have {words(MOST_TRIALS)}; lower replicates, or give fewer levels"
        )


def words(count: int) -> str:
    """A number for people, of any length."""
    return "more than 10^18" if count > BEYOND else shorten(str(count))
