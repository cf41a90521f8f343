"""Reads the evidence on a release from its store."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from analysis.release.release_evidence import Control, CopiesFound, Evidence, Guarantee, Scored
from mia_core.attacks import ATTACKS
from mia_core.errors import Refused
from mia_core.offers import reading
from study.spec.of_packages import PACKAGED
from study.store import Store, read
from study.store.exporting import some_versions, without_words
from study.store.files import Damaged
from study.store.seals import own_file, parse
from study.verdicts.controls import verdicts

ROLE = "release"
LEVELS = re.compile(r"_(generated|steps)\d+")
"""Ends of labels that name a number of samples, or of steps."""


def is_release(store: Store) -> bool:
    """Whether a store is of a release, and not of trained trials."""
    return "release" in store.resolved()


def read_evidence(store: Store) -> Evidence:
    """All of it. Refused where the release was not attacked yet, or in a public copy, which has no scores."""
    resolved = store.resolved()
    trials = read(store.root, store.study, "trials")
    trials = trials[trials["role"] == ROLE]
    if len(trials) != 1:
        raise Refused(f"{store.uri}: the release is not judged yet; the same `mia-study release` command goes on")
    trial = trials.iloc[0]
    config = json.loads(trial["config"])
    rows = read(store.root, store.study, "attacks")
    rows = rows[rows["trial_id"] == trial["trial_id"]]
    stated = resolved["release"]
    return Evidence(
        released={"recipient": stated.get("recipient"), "target": trial["target"], **config["release"]},
        given=config["given"],
        attacks=list(_attacks(store, rows, _uses(resolved))),
        controls=[_control(row) for row in verdicts(store.root, store.study).to_dict("records")],
        copies=_copies(store, trial["trial_id"]),
        guarantee=_guarantee(stated),
        skipped=_skipped(store, rows),
        about={name: value for name, value in without_words(resolved["data"]).items() if value is not None},
        digest=str(config["data_digest"]),
        versions=some_versions(json.loads(trial["versions"])),
        pairs=_pairs(store, trial["trial_id"]),
    )


def _uses(resolved: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Capabilities that attacks use, by their labels without levels."""
    found = {}
    for item in resolved["attacks"]:
        settings = {name: value for name, value in item.items() if name not in ("label", "at")}
        with reading(resolved.get(PACKAGED)):
            found[LEVELS.sub("", item["label"])] = ATTACKS.choose(settings).build().uses
    return found


def _attacks(store: Store, rows: pd.DataFrame, uses: Mapping[str, frozenset[str]]) -> Iterator[Scored]:
    scores = read(store.root, store.study, "scores")
    scores = scores[scores["judged"].fillna(True).astype(bool)]
    by_attack = dict(iter(scores[scores["trial_id"].isin(rows["trial_id"])].groupby("attack_id", observed=True)))
    for row in rows[rows["auc"].notna()].to_dict("records"):
        part = by_attack.get(row["attack_id"])
        if part is None:
            raise Damaged(f"{store.uri}: {row['attack']} has no scores; `mia-study store check` says more")
        stem = LEVELS.sub("", row["attack"])
        arguments = {name: value for name, value in json.loads(row["arguments"]).items() if name != "generated"}
        yield Scored(
            label=row["attack"],
            family=f"{stem} {json.dumps(arguments, sort_keys=True)}",
            access=row["access"],
            knowledge=row["knowledge"],
            uses=uses.get(stem, frozenset()),
            released=int(row["released"]) if pd.notna(row["released"]) else 0,
            score=part["score"].to_numpy(float),
            member=part["member"].to_numpy(bool),
            unit=part["unit"].fillna(part["query"]).to_numpy(int),
        )


def _control(row: Mapping[Any, Any]) -> Control:
    def real(name: str) -> float | None:
        return float(row[name]) if name in row and pd.notna(row[name]) else None

    standing = row["standing"] if isinstance(row["standing"], str) else None
    attack = row["attack"] if isinstance(row["attack"], str) else ""
    words = re.sub(r"^left out[^:]*: ", "", str(row["verdict"]))
    return Control(
        row["control"], attack, standing, words, real("auc"), real("error"), real("p_holm"), real("smallest_auc")
    )


def _copies(store: Store, trial_id: str) -> CopiesFound | None:
    rows = read(store.root, store.study, "quality")
    rows = rows[(rows["trial_id"] == trial_id) & (rows["extractor"] == "pixels") & rows["value"].notna()]
    found = {row["measure"]: row for row in rows.to_dict("records")}
    if "exact_copies" not in found:
        return None
    exact, alike = found["exact_copies"], found.get("copies")
    about = json.loads(alike["arguments"]) if alike else {}
    return CopiesFound(
        samples=int(exact["samples"]),
        called=round(alike["value"] * int(alike["samples"])) if alike else None,
        equal=round(exact["value"] * int(exact["samples"])),
        alpha=about.get("alpha"),
        unseen=about.get("unseen_persons", about.get("unseen")),
        several="unseen_persons" in about,
        members=found["members_copied"]["value"] if "members_copied" in found else None,
        persons=found["persons_copied"]["value"] if "persons_copied" in found else None,
    )


def _guarantee(stated: Mapping[str, Any]) -> Guarantee | None:
    if stated.get("epsilon") is None:
        return None
    return Guarantee(float(stated["epsilon"]), float(stated["delta"]), str(stated["epsilon_unit"]))


def _skipped(store: Store, rows: pd.DataFrame) -> dict[str, str]:
    """Attacks that could not be tried, by label without levels, with reasons; also those that the design leaves out."""
    design = read(store.root, store.study, "design")
    design = design[(design["kind"] == "attack") & (design["role"] == ROLE) & design["skipped"].notna()]
    none = rows[rows["skipped"].notna()]
    labels, reasons = [*design["label"], *none["attack"]], [*design["skipped"], *none["skipped"]]
    return {LEVELS.sub("", label): reason for label, reason in zip(labels, reasons, strict=True)}


def _pairs(store: Store, trial_id: str) -> list[dict[str, Any]]:
    """Samples and the members that they equal or resemble, by file name: for the private list alone."""
    found = []
    for marker in store.markers([trial_id]).values():
        file = own_file(marker, f"copies/{trial_id}")
        if file is None:
            continue
        data = store.sealed_bytes(file, marker["files"][file])
        try:
            found += [{"kind": kind, **pair} for kind, pairs in parse(data).items() for pair in pairs]
        except (ValueError, TypeError) as error:
            raise Damaged(f"{store.uri}/{file}: {error}") from None
    return found
