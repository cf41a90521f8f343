"""One study's folder: writing passes, sealing them with done-markers, and what is done so far."""

import contextlib
import fcntl
import json
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from mia_core.hashing import FORMAT, canonical_json, content_id
from study.store import files
from study.store.schema import Rows, to_parquet, to_table

PASS_TABLES = ("trials", "quality", "attacks", "scores", "history")


UNREADABLE = "is missing or damaged; the study's own sweep command writes it again, and trains nothing for it"


class Damaged(Exception):
    """A sealed file is missing or does not have the bytes it was sealed with."""


@dataclass
class Done:
    """What sealed passes hold of one trial. kept: the trained target was kept; ids of attacks and measures."""

    train: bool = False
    kept: bool = False
    attacks: set[str] = field(default_factory=set)
    measures: set[str] = field(default_factory=set)


class Store:
    """`<root>/<study>`; nothing is created before something is written."""

    def __init__(self, root: str | Path, study: str) -> None:
        if "://" in str(root):
            raise ValueError(f"results: {root} is an object store, and only folders are supported so far")
        self.study = study
        self.folder = Path(root).absolute() / study

    # What a sweep leaves for readers

    def publish(self, name: str, spec: Mapping[str, Any], design: Rows, about: Mapping[str, Any]) -> None:
        """Write a resolved spec and its design under the design's hash, then point to them.

        They replace what is there: it may be torn, or list the ids that an older version gave to the same spec.
        """
        files.settle(self.folder / "specs" / f"{name}.json", json.dumps(spec, indent=2).encode())
        files.settle(self.folder / "design" / f"{name}.parquet", to_parquet(to_table("design", design)))
        pointer = {"study": self.study, "spec": name, "format": FORMAT, **about}
        files.write(self.folder / "study.json", json.dumps(pointer, indent=2).encode())

    def pointer(self) -> dict[str, Any]:
        """study.json; ValueError when there is no such study."""
        path = self.folder / "study.json"
        if not path.is_file():
            raise ValueError(f"{self.folder}: no study here (study.json is missing)")
        return _read_json(path)

    def resolved(self) -> dict[str, Any]:
        """The current spec, defaults filled in; ValueError when there is no such study."""
        return _read_json(self.folder / "specs" / f"{self.pointer()['spec']}.json")

    # Passes

    def begin(self) -> "Pass":
        """A new pass, under its own nonce."""
        return Pass(self, secrets.token_hex(4))

    def markers(self, trial_ids: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
        """Done-markers by name, of all trials or of some."""
        patterns = ["[!.]*.json"] if trial_ids is None else [f"{trial_id}-*.json" for trial_id in trial_ids]
        found = sorted(path for pattern in patterns for path in (self.folder / "done").glob(pattern))
        return {path.stem: json.loads(path.read_bytes()) for path in found}

    def done(self, trial_ids: Iterable[str] | None = None) -> dict[str, Done]:
        """What is sealed, by trial id."""
        trials: dict[str, Done] = {}
        for marker in self.markers(trial_ids).values():
            done = trials.setdefault(marker["trial_id"], Done())
            done.train |= marker["work"]["train"]
            done.kept |= f"targets/{marker['trial_id']}.safetensors" in marker["files"]
            done.attacks |= set(marker["work"]["attacks"])
            done.measures |= set(marker["work"]["measures"])
        return trials

    def sealed_bytes(self, relative: str, seal: Mapping[str, Any]) -> bytes:
        """A listed file's content; Damaged unless it has the sealed sha256."""
        try:
            data = (self.folder / relative).read_bytes()
        except OSError as error:
            raise Damaged(f"{self.folder / relative}: sealed, but cannot be read ({error.strerror})") from None
        if files.sha256(data) != seal["sha256"]:
            raise Damaged(f"{self.folder / relative}: its bytes changed since it was sealed")
        return data

    def sealed_tensors(self, relative: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Tensors and metadata of a target or resume state that some marker seals."""
        for marker in self.markers().values():
            if relative in marker["files"]:
                return parse_tensors(self.sealed_bytes(relative, marker["files"][relative]))
        raise Damaged(f"{self.folder / relative}: not sealed by any pass")

    def resume_steps(self, trajectory_id: str) -> list[int]:
        """Steps at which a sealed resume state of a trajectory exists, ascending."""
        sealed = {name for marker in self.markers().values() for name in marker["files"]}
        prefix = f"resume/{trajectory_id}-"
        return sorted(int(Path(name).stem.split("-")[1]) for name in sealed if name.startswith(prefix))

    # Files of a study that are not results of a pass

    def save_feature_network(self, recipe: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """features/<recipe>.safetensors, with its sha256 beside it, written last."""
        data = to_bytes(tensors, {})
        files.write(self.folder / "features" / f"{recipe}.safetensors", data)
        seal = {"bytes": len(data), "sha256": files.sha256(data)}
        files.write(self.folder / "features" / f"{recipe}.json", json.dumps(seal).encode())

    def feature_network(self, recipe: str) -> tuple[dict[str, torch.Tensor], str] | None:
        """Weights and their sha256, or None when this extractor was never trained; Damaged when its bytes changed."""
        seal_path = self.folder / "features" / f"{recipe}.json"
        if not seal_path.is_file():
            return None
        seal = json.loads(seal_path.read_bytes())
        return parse_tensors(self.sealed_bytes(f"features/{recipe}.safetensors", seal))[0], seal["sha256"]

    def save_checkpoint(self, trajectory_id: str, tensors: Mapping[str, torch.Tensor], state: dict[str, Any]) -> None:
        """checkpoints/<trajectory>/<step>-<sha256>.safetensors; the two newest are kept."""
        data = to_bytes(tensors, state)
        folder = self.folder / "checkpoints" / trajectory_id
        files.write(folder / f"{state['step']:010d}-{files.sha256(data)[:16]}.safetensors", data)
        for old in sorted(folder.glob("[!.]*.safetensors"))[:-2]:
            old.unlink(missing_ok=True)

    def checkpoint(self, trajectory_id: str, up_to_step: int) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """The newest whole checkpoint not beyond a step; torn ones are passed over."""
        folder = self.folder / "checkpoints" / trajectory_id
        for path in sorted(folder.glob("[!.]*.safetensors"), reverse=True):
            step, _, digest = path.stem.partition("-")
            data = path.read_bytes()
            if int(step) <= up_to_step and files.sha256(data)[:16] == digest:
                return parse_tensors(data)
        return None

    def drop_checkpoints(self, trajectory_id: str) -> None:
        """When a trajectory's trials are done."""
        shutil.rmtree(self.folder / "checkpoints" / trajectory_id, ignore_errors=True)

    def save_failure(self, trajectory_id: str, failure: Mapping[str, Any]) -> Path:
        """failures/<trajectory>.json: the last error."""
        path = self.failure_path(trajectory_id)
        files.write(path, json.dumps(failure, indent=2).encode())
        return path

    def failure_path(self, trajectory_id: str) -> Path:
        """Where the last error of a trajectory is, if there was one."""
        return self.folder / "failures" / f"{trajectory_id}.json"

    def drop_failure(self, trajectory_id: str) -> None:
        """When a trajectory came through after all."""
        self.failure_path(trajectory_id).unlink(missing_ok=True)

    def probe(self) -> None:
        """ValueError unless the folder can be written to."""
        path = self.folder / f".probe-{secrets.token_hex(4)}"
        try:
            files.write(path, b"probe")
            path.unlink()
        except OSError as error:
            raise ValueError(f"results: cannot write to {self.folder}: {error.strerror}") from None

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """One driver a study; ValueError while another one on this machine has it. Freed when the process ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ValueError(
                    f"results: another sweep or study.track is working on {self.folder}; wait for it or stop it"
                ) from None
            yield


class Pass:
    """What is written at once for one trial. Until `seal`, readers see nothing of it."""

    def __init__(self, store: Store, nonce: str) -> None:
        self.store = store
        self.nonce = nonce
        self._tables: dict[str, Rows] = {}
        self._seals: dict[str, dict[str, Any]] = {}

    def add(self, table: str, rows: Rows) -> None:
        """Rows of one table."""
        self._tables[table] = rows

    def add_file(self, relative: str, data: bytes) -> None:
        """A file under its own name, sealed with the pass. Its bytes must follow from its name."""
        files.write(self.store.folder / relative, data)
        self._seals[relative] = {"bytes": len(data), "sha256": files.sha256(data)}

    def seal(self, trial_id: str, train: bool, attacks: list[str], measures: list[str]) -> bool:
        """Write tables, then the marker; False when the same work was sealed by somebody else meanwhile."""
        work = {"train": train, "attacks": sorted(attacks), "measures": sorted(measures)}
        work_hash = content_id(work)
        for table, rows in self._tables.items():
            self._write_table(table, f"{table}/{trial_id}-{work_hash}-{self.nonce}.parquet", rows)
        marker = {
            "trial_id": trial_id,
            "work": work,
            "nonce": self.nonce,
            "files": self._seals,
            "sealed_at": datetime.now(UTC).isoformat(),
        }
        return files.create(
            self.store.folder / "done" / f"{trial_id}-{work_hash}.json", canonical_json(marker).encode()
        )

    def _write_table(self, table: str, relative: str, rows: Rows) -> None:
        data = to_parquet(to_table(table, rows))
        files.write(self.store.folder / relative, data)
        self._seals[relative] = {"bytes": len(data), "sha256": files.sha256(data)}


def _read_json(path: Path) -> dict[str, Any]:
    """Damaged, with the way out, when a file that a sweep leaves for readers is missing or torn."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        raise Damaged(f"{path} {UNREADABLE}") from None


def to_bytes(tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> bytes:
    """safetensors; the state is one JSON text, so that equal content has equal bytes."""
    plain = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    return safetensors.torch.save(plain, metadata={"state": canonical_json(state)})


def parse_tensors(data: bytes) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and state; nothing is executed."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    return safetensors.torch.load(data), json.loads(header.get("__metadata__", {}).get("state", "{}"))
