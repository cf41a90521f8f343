"""Whether a study's store is whole: every damaged file, and what can be done about it. Nothing is changed."""

import contextlib
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import safetensors

from mia_core.errors import Refused
from study.store import own_names, seals
from study.store.collecting import Garbage, garbage
from study.store.files import Damaged
from study.store.manifests import pass_table, require_scored, sealed_table, valid
from study.store.marked import trial_of
from study.store.networks import MEASURE_AGAIN, two_networks
from study.store.passes import Store
from study.store.schema import complete, from_parquet

SWEEP = "the study's own sweep command"
SAME = "to the same bits on the same kind of machine"
LOST = "lost for good: no design of this study has its trial"
MEANWHILE = {
    "targets": "until then added attacks and measures cannot run on it; rows are whole",
    "resume": "until then a higher level of epochs cannot go on from it; rows are whole",
    "samples": "until then the picture is not to be trusted; rows are whole",
    "copies": "until then nobody can say which samples copy which members; rows are whole",
    "records": "until then nobody can say which files a release's records are; rows are whole",
    "roc": "until then the picture is not to be trusted; rows are whole",
}


@dataclass(frozen=True)
class Damage:
    """file: below the study's folder. what: is wrong with it. way_out: what brings it back, or what is lost."""

    file: str
    what: str
    way_out: str


@dataclass(frozen=True)
class Findings:
    """files, bytes: verified. aside: damaged markers whose work other passes have sealed. outdated: markers of work on
    an earlier training of their trial. strays: files among those of the study that are none of it. garbage,
    garbage_bytes: unsealed; None while another marker is damaged.
    """

    files: int
    bytes: int
    damages: list[Damage]
    aside: list[str]
    outdated: list[str]
    strays: list[str]
    garbage: int | None
    garbage_bytes: int | None


def check(store: Store) -> Findings:
    """Verify every sealed file of a study, its pointer, specs, designs, compactions and feature networks.

    Not seen: a marker that is gone, unless a compaction covers its pass; the trial is then simply not done, and its
    files are garbage. ValueError when there is no study.
    """
    if not any(store.place.exists(name) for name in ("study.json", "done", "specs")):
        store.pointer()
    found = _Check(store)
    found.published()
    found.passes()
    found.compactions()
    found.feature_networks()
    try:
        unsealed: list[Garbage] | None = garbage(store)
    except Damaged:
        unsealed = None
    return Findings(
        files=found.files,
        bytes=found.bytes,
        damages=found.damages,
        aside=found.aside,
        outdated=found.outdated,
        strays=list(own_names.strays(store.place)),
        garbage=None if unsealed is None else len(unsealed),
        garbage_bytes=None if unsealed is None else sum(item.bytes for item in unsealed),
    )


class _Check:
    """What one check found so far."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.files = self.bytes = 0
        self.damages: list[Damage] = []
        self.aside: list[str] = []
        self.outdated: list[str] = []
        self._pointer: dict[str, Any] = {}
        self._designs: dict[str, set[str]] = {}
        self._networks: set[str] = set()
        self._quality: list[pa.Table] = []

    def published(self) -> None:
        """The pointer, specs and designs, of which the pointer seals all that this version wrote."""
        again = f"{SWEEP} writes it again, and trains nothing for it"
        with self._noting("study.json", again):
            self._pointer = seals.parse_pointer(self._read("study.json"))
        sealed = self._pointer.get("files", {})
        current = self._pointer.get("spec")
        listed = [
            f"{folder}/{file}"
            for folder in ("specs", "design")
            for file in own_names.own(folder, self.store.place.names(folder))
        ]
        wanted = [f"specs/{current}.json", f"design/{current}.parquet"] if current else []
        for relative in sorted({*listed, *sealed, *wanted}):
            name = relative.split("/")[1].split(".")[0]
            old = f"lost for good, unless the study file of that time is run again; the current design is {current}"
            with self._noting(relative, again if name == current else old):
                if relative in sealed:
                    self._sealed(relative, sealed[relative])
                if relative.startswith("specs/"):
                    seals.parse_spec(self._read(relative))
                else:
                    table = from_parquet(self._read(relative), "design")
                    self._designs[name] = set(table["trial_id"].to_pylist())

    def passes(self) -> None:
        """Every done-marker, every file that one seals, and whether rows are of its trial and its work."""
        marked = self.store.marked()
        left = {*self.store.not_redone(marked), *self.store.not_redone(marked, every_design=True)}
        self.aside = [f"done/{name}.json" for name in marked.damaged if name not in left]
        self.outdated = [f"done/{name}.json" for name in marked.outdated]
        for name in self.store.passes():
            if name in marked.damaged and name not in left:
                continue
            relative = f"done/{name}.json"
            again = self._again(trial_of(name))
            meanwhile = (
                f"remove it, and readers do without it ({again})"
                if again == LOST
                else f"{again}; until then only a compaction has its rows"
            )
            with self._noting(relative, meanwhile):
                marker = seals.parse_marker(name, self._read(relative))
                tables: dict[str, pa.Table] = {}
                for file, seal in marker["files"].items():
                    until = MEANWHILE.get(file.split("/")[0], "until then only a compaction may have its rows")
                    with self._noting(file, f"remove {relative}: {again}; {until}"):
                        if (table := self._sealed(file, seal, marker)) is not None:
                            tables[file.partition("/")[0]] = table
                self._scored(relative, marker, tables, again)

    def _scored(self, relative: str, marker: Mapping[str, Any], tables: Mapping[str, pa.Table], again: str) -> None:
        """Whether a pass has the scores that its attacks gave, where both could be read."""
        file = next((file for file in marker["files"] if file.startswith("scores/")), None)
        if "attacks" in tables and (file is None or "scores" in tables) and not self._pointer.get("public"):
            with self._noting(file or relative, f"remove {relative}: {again}"):
                require_scored(tables["attacks"], tables.get("scores"))

    def compactions(self) -> None:
        """Manifests with their tables, and the passes that the largest sound one covers."""
        again = f"`{shlex.join(['mia-study', 'store', 'compact', self.store.uri])}` makes it again; nothing is lost"
        for name in own_names.own("compacted", self.store.place.names("compacted")):
            if name.endswith(".json"):
                with self._noting(f"compacted/{name}", again):
                    manifest = seals.parse_manifest(name.removesuffix(".json"), self._read(f"compacted/{name}"))
                    for file, seal in manifest["files"].items():
                        with self._noting(file, again):
                            self._sealed(file, seal)
        present, found = set(self.store.passes()), next(valid(self.store.place, self.store.marked()), None)
        for name in found["passes"] if found else ():
            if name not in present:
                way_out = f"{self._again(trial_of(name))}; its rows are still compacted"
                self.damages.append(Damage(f"done/{name}.json", "is missing, though its pass was compacted", way_out))

    def feature_networks(self) -> None:
        """Weights by the seals beside them, and whether the ones are here that quality was measured on."""
        for name in own_names.own("features", self.store.place.names("features")):
            if name.endswith(".json"):
                beside, relative = f"features/{name}", f"features/{name.removesuffix('.json')}.safetensors"
                again = f"remove {beside}: {SWEEP} trains it again, {SAME}, when a measure is missing"
                with self._noting(beside, again):
                    seal = seals.parse_seal(self._read(beside))
                    with self._noting(relative, again):
                        self._sealed(relative, seal)
                    self._networks.discard(seal["sha256"])
        if self._quality and (what := two_networks(pa.concat_tables(self._quality))):
            self.damages.append(Damage("quality", what, MEASURE_AGAIN))
            return
        damaged = any(damage.file.startswith("features/") for damage in self.damages)
        for sha in sorted(self._networks) if not damaged and not self._pointer.get("public") else ():
            what = f"the network of sha256 {sha[:16]}..., which measured quality, is missing or has no seal"
            self.damages.append(Damage("features", what, f"{SWEEP} trains it again, {SAME}, for a measure to come"))

    def _again(self, trial_id: str) -> str:
        """What does a trial's passes again."""
        current = self._pointer.get("spec")
        if trial_id in self._designs.get(current or "", ()):
            return f"{SWEEP} does this pass again, {SAME}"
        for name, trials in self._designs.items():
            if trial_id in trials:
                spec = [f"{self.store.uri}/specs/{name}.json", "--set", f"results={self.store.root}"]
                return (
                    f"`{shlex.join(['mia-study', 'sweep', *spec])}`, of an earlier design, does this pass again, {SAME}"
                )
        return LOST

    def _read(self, relative: str) -> bytes:
        data = self.store.place.read(relative)
        self.files += 1
        self.bytes += len(data)
        return data

    def _sealed(
        self, relative: str, seal: Mapping[str, Any], marker: Mapping[str, Any] | None = None
    ) -> pa.Table | None:
        """Verify one; the table that it is, if it is one."""
        entry = self.store.place.stat(relative)
        if entry is None:
            self.store.place.read(relative)  # says whether it is missing, or something odd
            raise Refused("is missing")
        if entry.bytes != seal["bytes"]:
            raise Refused(f"has {entry.bytes} bytes and was sealed with {seal['bytes']}")
        if relative.startswith(("specs/", "design/")):
            self.store.sealed_bytes(relative, seal)  # counted where they are parsed
            return None
        self.files += 1
        self.bytes += seal["bytes"]
        if relative.endswith(".parquet"):
            place = self.store.place
            table = pass_table(place, marker, relative) if marker else sealed_table(place, relative, seal)
            if relative.startswith("quality/"):
                rows = complete(table, "quality").select(["measure_id", "extractor_sha256"])
                self._networks |= set(rows["extractor_sha256"].to_pylist()) - {None}
                self._quality.append(rows)
            return table
        data = self.store.sealed_bytes(relative, seal)
        if relative.endswith(".safetensors"):
            safetensors.deserialize(data)
        return None

    @contextlib.contextmanager
    def _noting(self, relative: str, way_out: str) -> Iterator[None]:
        """What is wrong with one file becomes one line, and the check goes on."""
        try:
            yield
        except (Damaged, ValueError, OSError, pa.ArrowException, safetensors.SafetensorError) as error:
            what = (str(error).splitlines() or ["is damaged"])[0].removeprefix(f"{self.store.uri}/{relative}: ")
            odd = f"move it away; then {way_out}" if "is a folder" in what else way_out
            self.damages.append(Damage(relative, what, odd))
