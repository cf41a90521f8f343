"""Who is told what happens to trajectories and trials."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Events:
    """Who is told. began, failed: of a trajectory, by its id, in Tune's loop, and so must return at once.

    sealed: of a trial, by its id, on a thread of its own, in order; what is left in the end is not waited for.
    """

    began: Callable[[str], object] = lambda name: None
    sealed: Callable[[str], object] = lambda name: None
    failed: Callable[[str], object] = lambda name: None
