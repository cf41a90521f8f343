"""Callbacks for what happens to trajectories and trials."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Events:
    """began, failed: called with the id of a trajectory, in Tune's loop, so they must return at once.

    sealed: called with the id of a trial, on a separate thread, in order; nobody waits for calls left at the end.
    """

    began: Callable[[str], object] = lambda name: None
    sealed: Callable[[str], object] = lambda name: None
    failed: Callable[[str], object] = lambda name: None
