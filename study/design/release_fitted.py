"""What was given, once its data are known: the release itself, and its study as far as it fits what is there."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mia_core.attacks.denoising import AUTHORS_TIMESTEPS
from mia_core.data import Pool, Split
from mia_core.data.given_folders import GivenFolders
from mia_core.data.given_records import MEMBER, NON_MEMBER, GivenRecords
from mia_core.data.images import ImageSettings
from mia_core.errors import Refused
from mia_core.releases import Form, Release
from study.spec.release_study import at_timesteps, within
from study.spec.study_file import Spec


@dataclass(frozen=True)
class Released:
    """release: loaded. spec: with the number of members as its training-set size, and attacks by no more samples than
    are given, the default ones at times that the model has. notes: on the release and on these attacks, a line each,
    without names.
    """

    release: Release
    spec: Spec
    notes: tuple[str, ...]

    @classmethod
    def of(cls, spec: Spec, pool: Pool) -> "Released":
        """Refused where release and records do not fit each other."""
        assert spec.release is not None
        release = spec.release.build(form_of(spec, pool))
        attacks, quality = spec.attacks, spec.quality
        notes, timesteps = release.notes, release.facts.timesteps
        if spec.default_attacks and timesteps is not None and timesteps != AUTHORS_TIMESTEPS:
            attacks = at_timesteps(attacks, timesteps)
            notes += (f"attacks at times of {AUTHORS_TIMESTEPS:,} timesteps look at the same parts of {timesteps:,}",)
        if release.count is not None:
            if release.count < FEWEST:
                raise Refused(f"release: attacks need {FEWEST} samples or more, and {release.count} is given")
            attacks, beyond = within(attacks, release.count, release.offers)
            if beyond:
                asked = ", ".join(f"{number:,}" for number in beyond)
                notes += (f"attacks by {asked} samples see all {release.count:,}: no more are given",)
            quality = replace(quality, samples=release.count)
        members = int((given_of(pool).part == MEMBER).sum())
        fitted = replace(spec, attacks=attacks, quality=quality, train_sizes=(members,))
        return cls(release, fitted, notes)

    def about(self) -> dict[str, Any]:
        """What is kept with results: plain values without paths or names of files."""
        return {**self.release.about(), "notes": list(self.notes)}


FEWEST = 2
"""Samples that a release has at least."""


def given_of(pool: Pool) -> GivenRecords:
    """What is known of the records. Refused for data that are no folders of members and non-members."""
    if pool.given is None:
        raise Refused("data.name: the data of a release are given_folders, with members and non_members")
    return pool.given


def form_of(spec: Spec, pool: Pool) -> Form:
    """The form that the records were brought to."""
    config, given = spec.data.config, given_of(pool)
    assert isinstance(config, GivenFolders.Config)
    channels, size, _ = pool.image_shape
    reading = ImageSettings(
        size=size,
        channels=3 if channels == 3 else 1,
        on_unreadable=config.on_unreadable,
        cache=config.cache,
        window=config.window,
        transparency=config.transparency,
        pages=config.pages,
    )
    return Form(reading, given.quality)


def about_records(pool: Pool, split: Split) -> dict[str, Any]:
    """Counts and words on the records of a release, without names: for the column `config` of its trial."""
    given = given_of(pool)
    judged = split.membership(0, split.smallest)
    named = any(person is not None for person in given.persons)
    inside = np.isin(np.arange(len(pool)), judged.train)

    def persons(side: np.ndarray) -> int | None:
        return len(np.unique(pool.groups[side])) if named else None

    return {
        **given.counts(),
        "persons_members": persons(inside),
        "persons_non_members": persons(given.part == NON_MEMBER),
        "known": len(split.known_members),
        "judged_members": int(judged.member.sum()),
        "judged_non_members": int((~judged.member).sum()),
        "holdout": split.config.holdout,
        "left_out": given.reasons(),
        "notes": list(given.notes),
    }
