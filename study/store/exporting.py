"""A copy of a study for everybody: what was measured, and nothing of single records, machines or people."""

import json
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from mia_core.errors import Refused
from mia_core.hashing import canonical_json
from study.store import files, seals
from study.store.compacting import compact
from study.store.manifests import pass_table
from study.store.noise import GUESSABLE, noise_from_seed
from study.store.passes import Store
from study.store.schema import to_parquet

TABLES = ("trials", "quality", "attacks", "history")
COVERED = ("trajectory_id", "epoch", "step", "epsilon", "seconds")
"""Columns of a private training's `history` that are no functions of its records; the others are its curves."""
LOSSES = ("loss_members", "loss_unseen")
"""Columns of `trials` that its epsilon does not cover either."""
VERSIONS = ("python", "torch", "numpy", "threads", "instruction_set", "machine", "packages")
ABOUT = ("git_commit", "lock", "format")
NOTICE = "NOTICE.txt"
"""Of a public copy: what its readers and its maker have to know."""

WORDS = """\
A public copy of the study {study}.

It has what was measured of each trained model, and its settings. Left out are the scores of single records, trained
models, samples, feature networks (which were trained on reference records), checkpoints, failures, reports, names of
machines, hashes of records, the data's folders, files and columns, and the curves and losses of private trainings.

No epsilon covers what is here: results of attacks, measures of quality and training curves are functions of the
records.

The settings have the study's seed and the digest of the data. Which records each model was trained on, by their numbers
in the pool, follows from them.
"""
OF_RELEASE = ("root", "samples", "function", "key", "recipient")
"""Settings of a release that are folders, files or people."""


def export_public(store: Store, out: Path) -> int:
    """Write a public copy into `out`, absent or empty before; returns how many passes it has.

    It has the current design and spec, and of its trials the tables in TABLES with all their columns, sealed anew. Left
    out: scores (the one table with a row a record), hashes of the pool's records (data/), curves and losses of
    trainings that have an epsilon (null, for it does not cover them), targets, resume states, samples, feature
    networks, checkpoints, failures with their paths and tracebacks, reports, earlier designs (but not their specs,
    which say what was declared). Words among the data's settings (folders, files, columns) become null, in the specs
    and in each trial's config; the data set's name and numbers stay. So do the path of a network that quality is
    measured by, and a release's folders, files and recipient, and there is no policy, which names who signed it. Of
    versions VERSIONS stay: software, threads and processor type, no host. Device names, times, the sha256 of the data
    and the seed stay. NOTICE says what no epsilon covers, and what follows from the seed.

    It is for others to read, so its folders and files have the modes that the umask leaves, where those of a study are
    for their owner alone. It appears whole or not at all. ValueError for an `out` that holds something, Damaged when a
    sealed file is.
    """
    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise Refused(f"{out}: holds something; give a folder that is absent or empty")
    pointer = store.pointer()
    design = store.design().to_pylist()
    out = out.absolute()
    copy = Store(out.parent, f".{out.name}.{secrets.token_hex(4)}", files.SHARED)
    try:
        passes = store.whole_markers({row["trial_id"] for row in design if row["trial_id"]})
        for name, marker in passes.items():
            _copy_pass(store, copy, name, marker)
        about = {key: pointer[key] for key in ABOUT if key in pointer}
        about |= {"study": pointer["study"], "public": True, "versions": some_versions(pointer.get("versions", {}))}
        specs = {name: public_settings(spec) for name, spec in store.sealed_specs().items()}
        earlier = {f"specs/{name}.json": spec for name, spec in specs.items() if name != pointer["spec"]}
        about |= {seals.EARLIER: earlier} if earlier else {}
        copy.publish(pointer["spec"], specs[pointer["spec"]], design, about)
        notice = WORDS.format(study=pointer["study"]) + (f"\n{GUESSABLE}\n" if noise_from_seed(copy) else "")
        copy.place.write(NOTICE, notice.encode())
        compact(copy)
        copy.folder.rename(out)
    finally:
        shutil.rmtree(copy.folder, ignore_errors=True)
    return len(passes)


def _copy_pass(store: Store, copy: Store, name: str, marker: Mapping[str, Any]) -> None:
    sealed = {}
    own = {relative: relative.split("/")[0] for relative in marker["files"]}
    rows = {name: pass_table(store.place, marker, name) for name, table in own.items() if table in TABLES}
    private = any(own[name] == "trials" and _is_private(found) for name, found in rows.items())
    for relative, found in rows.items():
        table = own[relative]
        public = _without_machines(found) if table == "trials" else found
        if private:
            public = _without(public, _uncovered(table, public.column_names))
        data = to_parquet(public)
        copy.place.write(relative, data)
        sealed[relative] = files.seal(data)
    copy.place.write(f"done/{name}.json", seals.to_json({**marker, "files": sealed}))


def _is_private(trials: pa.Table) -> bool:
    """Whether a training has a guarantee, or was to have one."""
    stated = [trials[name].to_pylist() for name in ("epsilon", "target_epsilon") if name in trials.column_names]
    return any(value is not None for values in stated for value in values)


def _uncovered(table: str, columns: Sequence[str]) -> list[str]:
    """Columns of a private training's table that no epsilon covers, and that only its maker needs."""
    if table == "history":
        return [name for name in columns if name not in COVERED]
    return [name for name in LOSSES if name in columns] if table == "trials" else []


def _without(rows: pa.Table, columns: Sequence[str]) -> pa.Table:
    """With null in these columns."""
    for name in columns:
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, rows.schema.field(at), pa.nulls(len(rows), rows.schema.field(at).type))
    return rows


def _without_machines(trials: pa.Table) -> pa.Table:
    configs = [json.loads(text) for text in trials["config"].to_pylist()]
    versions = [json.loads(text) for text in trials["versions"].to_pylist()]
    columns = {
        "config": [canonical_json(public_settings(config)) for config in configs],
        "versions": [canonical_json(some_versions(version)) for version in versions],
    }
    for name, values in columns.items():
        trials = trials.set_column(trials.schema.get_field_index(name), name, pa.array(values, pa.string()))
    return trials


def public_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a study or of a trial, as everybody may read them."""
    data, release = settings.get("data"), settings.get("release")
    shown = {**settings, "data": without_words(data) if isinstance(data, Mapping) else None}
    if release is not None:
        own = release if isinstance(release, Mapping) else {}
        shown["release"] = {key: None if key in OF_RELEASE else value for key, value in own.items()}
    quality = settings.get("quality")
    if isinstance(quality, Mapping) and "onnx" in quality:
        shown["quality"] = {**quality, "onnx": None}
    shown.pop("policy", None)  # it names who signed it
    return shown


def without_words(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data's settings without words, which may be folders, files or columns."""
    return {key: value if key == "name" or not _has_words(value) else None for key, value in data.items()}


def _has_words(value: Any) -> bool:
    return not (value is None or isinstance(value, (bool, int, float))) and not (
        isinstance(value, list) and not any(map(_has_words, value))
    )


def some_versions(versions: Mapping[str, Any]) -> dict[str, Any]:
    """Software, threads and processor type, without whatever else was listed, such as the host."""
    return {key: versions[key] for key in VERSIONS if key in versions}
