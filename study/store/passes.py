"""One study's store: its passes and their done-markers, what is done so far, and the files besides passes."""

import contextlib
import json
import secrets
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mia_core import private_files
from mia_core.errors import Refused
from mia_core.hashing import FORMAT, content_id
from study.store import files, own_names, roots, seals
from study.store.files import PRIVATE, Damaged, Modes
from study.store.manifests import sealed_bytes, unchanged
from study.store.marked import Marked, trial_of
from study.store.places import Entry, Folder, most_bytes
from study.store.rows import DIVERGED
from study.store.schema import Rows, from_parquet, to_parquet, to_table

if TYPE_CHECKING:
    from study.store.tensors import Loaded, Tensors

UNREADABLE = "is missing or damaged; the study's own sweep command writes it again, and trains nothing for it"

FEW = 8
"""Trials whose markers are listed by themselves, and markers that are read without a compaction."""


@dataclass
class Done:
    """What sealed passes hold of one trial. kept: its target was kept. diverged: its training was of no use."""

    train: bool = False
    kept: bool = False
    diverged: bool = False
    attacks: set[str] = field(default_factory=set)
    measures: set[str] = field(default_factory=set)


class Store:
    """`<root>/<study>`, in a folder or a bucket; nothing is created before something is written.

    root: absolute, for `Store` and `read` in any process. modes: of what is made in a folder.
    """

    def __init__(self, root: str | Path, study: str, modes: Modes = PRIVATE) -> None:
        self.root = roots.absolute(root)
        if study in ("", "..") or Path(study).name != study or "\0" in study:
            raise Refused(f"study: {study!r} must be the name of a folder, without any way to it")
        self.study = study
        self.place = roots.place(f"{self.root}/{study}", modes)

    @classmethod
    def at(cls, uri: str | Path) -> "Store":
        """The study at e.g. results/digits; ValueError where that names no study."""
        if "://" not in str(uri):
            folder = Path(uri).absolute()
            return cls(folder.parent, folder.name)
        root, _, study = str(uri).rstrip("/").rpartition("/")
        return cls(root, study)

    @property
    def uri(self) -> str:
        """Where the study is, for people and for `at`."""
        return self.place.uri

    @property
    def reports(self) -> Path:
        """Where pages and pictures of the study go: beside it, or reports/<study> when it is in a bucket."""
        own = isinstance(self.place, Folder)
        return self.folder / "reports" if own else Path("reports", self.study)

    def save_report(self, name: str, data: bytes) -> Path:
        """Write a page or picture to `reports`; a link of that name is replaced, not followed."""
        place, relative = self._report(name)
        place.write(relative, data)
        return self.reports / name

    def report(self, name: str) -> bytes | None:
        """A page or picture of `reports`, None where there is none; Damaged for one that may not be read."""
        place, relative = self._report(name)
        return place.read(relative, most_bytes("reports")) if place.exists(relative) else None

    def make_reports(self) -> None:
        """Make `reports`; Damaged where a link leads it out of the study."""
        place, relative = self._report(".")
        private_files.make_folder(place.path(relative))

    def _report(self, name: str) -> tuple[Folder, str]:
        """Its place, on this machine, and its name there."""
        return (self.place, f"reports/{name}") if isinstance(self.place, Folder) else (Folder(self.reports), name)

    @property
    def folder(self) -> Path:
        """The study's folder; ValueError when it is in a bucket."""
        if not isinstance(self.place, Folder):
            raise Refused(f"{self.uri}: is no folder of this machine, which this needs")
        return self.place.folder

    # What a sweep leaves for readers

    def publish(self, name: str, spec: Mapping[str, Any], design: Rows, about: Mapping[str, Any]) -> None:
        """Write a resolved spec and its design under the design's hash, then point to them, and seal them there.

        They replace what is there: it may be torn, or list the ids that an older version gave to the same spec.
        ValueError for a public copy.
        """
        before: dict[str, Any] = {}
        with contextlib.suppress(ValueError, Damaged):  # the first sweep, or a torn pointer
            before = self.pointer()
        if before.get("public"):
            raise Refused(f"{self.uri}: a public copy, to which nothing can be added; use the study it was made of")
        contents = {
            f"specs/{name}.json": json.dumps(spec, indent=2).encode(),
            f"design/{name}.parquet": to_parquet(to_table("design", design)),
        }
        for relative, data in contents.items():
            self.place.settle(relative, data)
        sealed = {relative: files.seal(data) for relative, data in contents.items()}
        pointer = {"study": self.study, "spec": name, "format": FORMAT, **about}
        if not about.get("public"):  # a copy for everybody is nobody's store
            pointer["id"] = self._id(before)
        pointer["files"] = {**before.get("files", {}), **sealed}
        self.place.write("study.json", seals.to_json(pointer, indent=2))

    def pointer(self) -> dict[str, Any]:
        """study.json; ValueError when there is no such study, or a later version wrote it."""
        if not self.place.exists("study.json"):
            raise Refused(
                f"{self.uri}: no study here (study.json is missing); name a study's folder, such as results/digits"
            )
        data = self.place.read("study.json")
        try:
            pointer = seals.parse_pointer(data)
        except ValueError:
            raise Damaged(f"{self.uri}/study.json {UNREADABLE}") from None
        if pointer["format"] > FORMAT:
            raise Refused(
                f"{self.uri}: was written by a later version of mia-study, in format {pointer['format']}; this one "
                f"reads formats up to {FORMAT}"
            )
        return pointer

    @property
    def id(self) -> str:
        """What tells this store from others of the same study, wherever it is; a copy has it too."""
        return self._id(self.pointer())

    def _id(self, pointer: Mapping[str, Any]) -> str:
        """As a pointer has it; by its place where an earlier version wrote that, and new where there is none."""
        return str(pointer.get("id") or (content_id(["store", self.uri]) if pointer else secrets.token_hex(8)))

    def published(self, relative: str) -> bytes:
        """A spec's or design's content; Damaged, with the way out, unless it is what the pointer seals."""
        seal = self.pointer().get("files", {}).get(relative)
        try:
            return self.sealed_bytes(relative, seal) if seal else self.place.read(relative)
        except Damaged:
            raise Damaged(f"{self.uri}/{relative} {UNREADABLE}") from None

    def resolved(self) -> dict[str, Any]:
        """The current spec, defaults filled in; ValueError when there is no such study."""
        relative = f"specs/{self.pointer()['spec']}.json"
        data = self.published(relative)
        try:
            return seals.parse_spec(data)
        except ValueError:
            raise Damaged(f"{self.uri}/{relative} {UNREADABLE}") from None

    def sealed_specs(self) -> dict[str, dict[str, Any]]:
        """All resolved specs by hash, in the order in which they were sealed first; ValueError when there is no such
        study, Damaged when one is. Of older versions, which kept no order, the current one alone.
        """
        pointer = self.pointer()
        current = f"specs/{pointer['spec']}.json"
        listed = [name for name in pointer.get("files", {}) if name.startswith("specs/")]
        contents = {name: json.dumps(spec).encode() for name, spec in pointer.get(seals.EARLIER, {}).items()}
        contents |= {name: self.published(name) for name in listed or [current]}
        found = {}
        for relative, data in contents.items():
            try:
                found[relative.removeprefix("specs/").removesuffix(".json")] = seals.parse_spec(data)
            except ValueError:
                raise Damaged(f"{self.uri}/{relative} {UNREADABLE}") from None
        return found

    def design(self) -> pa.Table:
        """The current design, a row per trial and per what it is wanted to hold; ValueError when there is no study."""
        relative = f"design/{self.pointer()['spec']}.parquet"
        data = self.published(relative)
        try:
            return from_parquet(data, "design")
        except (OSError, pa.ArrowException):
            raise Damaged(f"{self.uri}/{relative} {UNREADABLE}") from None

    @property
    def public(self) -> bool:
        """Whether this is a public copy, which has no scores; what was never published is none."""
        return self.place.exists("study.json") and bool(self.pointer().get("public", False))

    def warnings(self) -> list[str]:
        """A line where other users of this machine may read the study, and that is no public copy."""
        with contextlib.suppress(ValueError, Damaged):  # no pointer yet, or a torn one
            if self.public:
                return []
        if not self.place.is_open_to_others():
            return []
        return [f"{self.uri} may be read by other users of this machine; chmod -R go= {shlex.quote(self.uri)}"]

    # Passes

    def passes(self, trial_ids: Iterable[str] | None = None) -> list[str]:
        """Names of passes that have a done-marker, sound or not; of all trials or of some."""
        wanted = None if trial_ids is None else set(trial_ids)
        listed = [name for prefix in _prefixes(wanted) for name in self.place.names("done", prefix)]
        return sorted(_names(listed, wanted))

    def listed(self, trial_ids: Iterable[str] | None = None) -> dict[str, Entry]:
        """Done-markers in a listing, by name, of all trials or of some."""
        wanted = None if trial_ids is None else set(trial_ids)
        entries = {entry.name: entry for prefix in _prefixes(wanted) for entry in self.place.files("done", prefix)}
        return {name: entries[f"{name}.json"] for name in _names(entries, wanted)}

    def marker(self, name: str) -> dict[str, Any]:
        """The done-marker of a pass; Damaged, with the way out, unless it is whole and names its own files."""
        data = self.place.read(f"done/{name}.json")
        try:
            return seals.parse_marker(name, data)
        except ValueError as error:
            raise Damaged(
                f"{self.uri}/done/{name}.json: {error}; the study's own sweep command does this pass again, and where "
                f"it has nothing to do, `{shlex.join(['mia-study', 'store', 'check', self.uri])}` says what to do"
            ) from None

    def marked(self, trial_ids: Iterable[str] | None = None) -> Marked:
        """All done-markers, or those of some trials."""
        wanted = None if trial_ids is None else set(trial_ids)
        listed = self.listed(wanted)
        known = unchanged(self.place, listed) if len(listed) > FEW else {}
        left = [name for name in listed if name not in known]
        contents = dict(zip(left, self.place.read_each([f"done/{name}.json" for name in left]), strict=True))
        found = {}
        for name, data in {**known, **contents}.items():
            with contextlib.suppress(ValueError):
                if data is not None:
                    found[name] = seals.parse_marker(name, data)
        return Marked.of(found, {*self.passes(wanted), *listed} - found.keys())

    def markers(self, trial_ids: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
        """Sound done-markers that count, by name. What a damaged one sealed is not done, and the next sweep does it
        again.
        """
        return self.marked(trial_ids).counted

    def whole_markers(
        self, trial_ids: Iterable[str] | None = None, every_design: bool = False, others: bool = False
    ) -> dict[str, dict[str, Any]]:
        """As `markers`; Damaged, with the way out, for a damaged one whose work no sound ones have sealed since.

        every_design: look at what every design wants of its trial, and not at the current one alone. others: with those
        of a training beside the one that counts.
        """
        found = self.marked(trial_ids)
        further = self.not_redone(found, every_design)
        sound = found.counted | (found.aside if others else {})
        return sound | {name: self.marker(name) for name in further}

    def not_redone(self, found: Marked, every_design: bool = False) -> list[str]:
        """Damaged markers whose work nobody has done again, as far as the current design, or any, wants it."""
        redone = found.redone(self.wanted(every_design)) if found.damaged else set()
        return [name for name in found.damaged if name not in redone]

    def wanted(self, every_design: bool = False) -> dict[str, set[str]]:
        """Ids of attacks and measures that trials are wanted to hold, by trial id: in the current design, or in all.

        Nothing when a design cannot be read, for it may want more.
        """
        trials: dict[str, set[str]] = {}
        try:
            for design in self.designs() if every_design else [self.design()]:
                columns = (design[name].to_pylist() for name in ("trial_id", "kind", "id"))
                for trial_id, kind, name in zip(*columns, strict=True):
                    if trial_id:
                        trials.setdefault(trial_id, set()).update([name] if kind in ("attack", "measure") else [])
        except (Damaged, Refused):
            return {}
        return trials

    def designs(self) -> Iterator[pa.Table]:
        """Every design that was published; Damaged when one cannot be read."""
        for name in own_names.own("design", self.place.names("design")):
            try:
                yield from_parquet(self.place.read(f"design/{name}"), "design")
            except (OSError, pa.ArrowException):
                raise Damaged(f"{self.uri}/design/{name} {UNREADABLE}") from None

    def done(self, trial_ids: Iterable[str] | None = None) -> dict[str, Done]:
        """What is sealed, by trial id; less what is of a training that is there no more."""
        trials: dict[str, Done] = {}
        found = self.marked(trial_ids)
        for marker in found.counted.values():
            if marker.get("training") not in (None, found.trainings.get(marker["trial_id"])):
                continue
            done = trials.setdefault(marker["trial_id"], Done())
            done.train |= marker["work"]["train"]
            done.diverged |= marker.get("flags") == DIVERGED
            done.kept |= seals.own_file(marker, f"targets/{marker['trial_id']}") is not None
            done.attacks |= set(marker["work"]["attacks"])
            done.measures |= set(marker["work"]["measures"])
        return trials

    def training(self, trial_id: str) -> str | None:
        """The nonce of the pass that trained a trial; None where none is sealed."""
        return self.marked([trial_id]).trainings.get(trial_id)

    def sealed_bytes(self, relative: str, seal: Mapping[str, Any]) -> bytes:
        """A listed file's content; Damaged unless it has the sealed sha256."""
        return sealed_bytes(self.place, relative, seal)

    def sealed_file(self, stem: str, trial_id: str) -> tuple[str, bytes]:
        """Name and content of a file of a trial, `targets/<trial_id>` or the like, whichever attempt sealed it."""
        for marker in self.markers([trial_id]).values():
            if relative := seals.own_file(marker, stem):
                return relative, self.sealed_bytes(relative, marker["files"][relative])
        raise Damaged(f"{self.uri}/{stem}: not sealed by any pass")

    def sealed_tensors(self, stem: str, trial_id: str) -> "Loaded":
        """Tensors and metadata of a target or resume state, as of `sealed_file`."""
        return self._tensors(*self.sealed_file(stem, trial_id))

    def resume_steps(self, trajectory_id: str, trial_of_step: Callable[[int], str]) -> list[int]:
        """Steps at which a sealed resume state of a trajectory exists, ascending.

        trial_of_step: the trial that ends with a step, whose pass seals the state; no other trial's markers are read.
        """
        names = self.place.names("resume", f"{trajectory_id}-")
        steps = [Path(name).stem.removeprefix(f"{trajectory_id}-").partition("-")[0] for name in names]
        trials = {trial_of_step(int(step)): int(step) for step in steps if step.isdecimal()}
        markers = self.markers(trials).values() if trials else ()
        return sorted(
            {
                trials[marker["trial_id"]]
                for marker in markers
                if seals.own_file(marker, f"resume/{trajectory_id}-{trials[marker['trial_id']]}")
            }
        )

    def _tensors(self, relative: str, data: bytes) -> "Loaded":
        from study.store.tensors import parse_tensors

        try:
            return parse_tensors(data)
        except ValueError as error:
            raise Damaged(f"{self.uri}/{relative}: {error}") from None

    # Files of a study that are not results of a pass

    def save_feature_network(self, recipe: str, tensors: "Tensors") -> None:
        """features/<recipe>.safetensors, with its sha256 beside it, written last."""
        from study.store.tensors import to_bytes

        data = to_bytes(tensors, {})
        self.place.write(f"features/{recipe}.safetensors", data)
        self.place.write(f"features/{recipe}.json", json.dumps(files.seal(data)).encode())

    def feature_network(self, recipe: str) -> "tuple[Tensors, str] | None":
        """Weights and their sha256, or None when this extractor was never trained; Damaged when its bytes changed."""
        beside, relative = f"features/{recipe}.json", f"features/{recipe}.safetensors"
        if not self.place.exists(beside):
            return None
        try:
            seal = seals.parse_seal(self.place.read(beside))
            return self._tensors(relative, self.sealed_bytes(relative, seal))[0], seal["sha256"]
        except (ValueError, Damaged) as error:
            raise Damaged(f"{error}; without {self.uri}/{beside} the next sweep trains it again") from None

    def save_checkpoint(self, trajectory_id: str, tensors: "Tensors", state: dict[str, Any]) -> None:
        """checkpoints/<trajectory>/<step>-<sha256>.safetensors; this one is kept, and the newest before it.

        A checkpoint of a private training has the key of its noise, so what is not kept any more is erased.
        """
        from study.store.tensors import to_bytes

        data = to_bytes(tensors, state)
        folder = f"checkpoints/{trajectory_id}"
        saved = f"{state['step']:010d}-{files.sha256(data)[:16]}.safetensors"
        self.place.write(f"{folder}/{saved}", data)
        before = [name for name in self._checkpoints(folder) if name != saved]
        for old in before[1:]:
            self.place.erase(f"{folder}/{old}")

    def checkpoints(self, trajectory_id: str, up_to_step: int) -> "Iterator[Loaded]":
        """Whole checkpoints not beyond a step, the newest first; torn ones are passed over."""
        folder = f"checkpoints/{trajectory_id}"
        for name in self._checkpoints(folder):
            step, _, digest = name.removesuffix(".safetensors").partition("-")
            if int(step) <= up_to_step:
                with contextlib.suppress(Damaged):
                    data = self.place.read(f"{folder}/{name}")
                    if files.sha256(data)[:16] == digest:
                        yield self._tensors(f"{folder}/{name}", data)

    def _checkpoints(self, folder: str) -> list[str]:
        """Names, the newest first; of those that were written at once, the one of the highest step."""
        entries = sorted(self.place.files(folder), key=lambda entry: (entry.modified, entry.name), reverse=True)
        return own_names.own(folder, [entry.name for entry in entries])

    def drop_checkpoints(self, trajectory_id: str) -> None:
        """Erase them when a trajectory's trials are done, with what attempts that died have left."""
        folder = f"checkpoints/{trajectory_id}"
        for entry in self.place.files(folder):
            self.place.erase(f"{folder}/{entry.name}")
        self.place.remove_folder(folder)

    def save_failure(self, trajectory_id: str, failure: Mapping[str, Any]) -> None:
        """failures/<trajectory>.json: the last error."""
        self.place.write(f"failures/{trajectory_id}.json", json.dumps(failure, indent=2).encode())

    def failed(self) -> set[str]:
        """The trajectories whose last attempt failed."""
        return {name.removesuffix(".json") for name in own_names.own("failures", self.place.names("failures"))}

    def failure(self, trajectory_id: str) -> dict[str, Any]:
        """What is kept of the last error of a trajectory; Damaged when that is nothing."""
        relative = f"failures/{trajectory_id}.json"
        try:
            return seals.parse(self.place.read(relative), any_text=True)  # messages may name any file
        except ValueError as error:
            raise Damaged(f"{self.uri}/{relative}: {error}") from None

    def drop_failure(self, trajectory_id: str) -> None:
        """When a trajectory came through after all."""
        self.place.remove(f"failures/{trajectory_id}.json")

    def reach(self) -> None:
        """ValueError unless the storage is there to be read."""
        self.place.reach()

    def probe(self) -> None:
        """ValueError unless the storage takes a mebibyte."""
        self.place.probe()

    def lock(self) -> AbstractContextManager[None]:
        """One driver a study; ValueError while another one has it."""
        return self.place.lock()


def _prefixes(trial_ids: set[str] | None) -> list[str]:
    """What to list of all markers: those of few trials alone, or all."""
    return sorted(f"{name}-" for name in trial_ids) if trial_ids is not None and len(trial_ids) <= FEW else [""]


def _names(files: Iterable[str], trial_ids: set[str] | None) -> list[str]:
    """Of files in done/, the passes that have one; of all trials or of some."""
    names = [file.removesuffix(".json") for file in own_names.own("done", files)]
    return [name for name in names if trial_ids is None or trial_of(name) in trial_ids]
