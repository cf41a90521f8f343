"""Which done-markers count, where several attempts sealed work of one trial, or some are damaged."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Marker = Mapping[str, Any]


@dataclass(frozen=True)
class Marked:
    """Done-markers by the name of their pass, in the order in which they were sealed.

    counted: those that readers believe. aside: sound ones of a training beside the one that counts: a trial is trained
    once, and of two attempts the first counts. outdated: sound ones of work on an earlier training of their trial,
    which was done again since: its target was another. damaged: names of markers that cannot be read.
    """

    counted: dict[str, dict[str, Any]]
    aside: dict[str, dict[str, Any]]
    outdated: dict[str, dict[str, Any]]
    damaged: tuple[str, ...]

    @classmethod
    def of(cls, sound: Mapping[str, dict[str, Any]], damaged: Iterable[str] = ()) -> "Marked":
        """Of all sound markers of some trials, and the names of damaged ones."""
        ordered = dict(sorted(sound.items(), key=lambda item: (item[1]["sealed_at"], item[0])))
        first: dict[str, str] = {}
        for name, marker in ordered.items():
            if marker["work"]["train"]:
                first.setdefault(marker["trial_id"], name)
        aside = {
            name: marker
            for name, marker in ordered.items()
            if marker["work"]["train"] and first[marker["trial_id"]] != name
        }
        outdated = {
            name: marker
            for name, marker in ordered.items()
            if not marker["work"]["train"]
            and (own := first.get(marker["trial_id"]))
            and _is_of_another(marker, ordered[own])
        }
        counted = {name: marker for name, marker in ordered.items() if name not in aside and name not in outdated}
        return cls(counted, aside, outdated, tuple(sorted(damaged)))

    @property
    def trainings(self) -> dict[str, str]:
        """The nonce of the training that counts, by trial id."""
        return {marker["trial_id"]: marker["nonce"] for marker in self.counted.values() if marker["work"]["train"]}

    @property
    def sound(self) -> dict[str, dict[str, Any]]:
        """All that can be read, also those that do not count."""
        return self.counted | self.aside | self.outdated

    def takes(self, manifest: Mapping[str, Any]) -> bool:
        """Whether a compaction has rows of passes that count alone, as they were sealed.

        Not if one of its passes was done again since, or its trial was trained again.
        """
        passes = manifest["passes"]
        if (self.aside.keys() | self.outdated.keys()) & passes.keys():
            return False
        trained = {marker["trial_id"]: name for name, marker in self.counted.items() if marker["work"]["train"]}
        for name, nonce in passes.items():
            if name in self.counted:
                if nonce not in (None, self.counted[name]["nonce"]):
                    return False
            elif trained.get(trial_of(name), name) not in passes:
                return False
        return True

    def redone(self, wanted: Mapping[str, Collection[str]]) -> set[str]:
        """Names of damaged markers of trials that have all they are wanted to hold in sound ones.

        wanted: by trial id, the ids of attacks and measures; a trial that no design has is not there.
        """
        held: dict[str, set[str]] = defaultdict(set)
        trained = set()
        for marker in self.counted.values():
            held[marker["trial_id"]] |= {*marker["work"]["attacks"], *marker["work"]["measures"]}
            if marker["work"]["train"]:
                trained.add(marker["trial_id"])
        return {
            name
            for name in self.damaged
            if (trial := trial_of(name)) in trained and trial in wanted and held[trial] >= set(wanted[trial])
        }


def _is_of_another(marker: Marker, training: Marker) -> bool:
    """Whether a pass worked on the target of another training of its trial than the one that counts.

    Earlier versions did not say on which; then a pass that was sealed before a training of this version did so.
    """
    if marker.get("training"):
        return bool(marker["training"] != training["nonce"])
    return "training" in training and bool(marker["sealed_at"] < training["sealed_at"])


def trial_of(name: str) -> str:
    """The trial that a pass, by its name, is of."""
    return name.rpartition("-")[0]
