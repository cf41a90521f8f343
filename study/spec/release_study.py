"""The study of a release: a document with a section `release`, which says what is given and trains nothing."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, field, replace
from typing import Annotated, Any

from annotated_types import MaxLen, MinLen

from mia_core.access import CAPABILITIES
from mia_core.attacks import ATTACKS, attacks_on
from mia_core.data import SOURCES, SPLITS, Source
from mia_core.errors import Refused
from mia_core.metrics import COPIES
from mia_core.paths import expanded
from mia_core.releases import RELEASES, Release
from mia_core.settings import Choice, plain, settings, validate
from study.spec.attack_entries import AttackEntry, attack_entries
from study.spec.factors import NO_FACTORS
from study.spec.locations import TRACKING, results_location, tracking_uri
from study.spec.objectives import PIXELS
from study.spec.of_packages import packaged
from study.spec.policy import policy_of
from study.spec.sampling import DesignSpec
from study.spec.section_models import AuditSpec, ComputeSpec, ControlsSpec, QualitySpec, Word

FOLDERS = ("members", "non_members", "reference", "groups")
"""Settings of the data that a study file may give in its split."""
TREATMENTS = ("keep", "ignore")
"""Values of `split.groups` that are no table: what every split does with persons."""
GENERATED = (100, 300, 1000, 3000, 10000)
"""Numbers of samples that attacks see, unless a study file says others; of the first that is too large, all there are.
"""
KNOWN = 10
SAMPLES = 5000
"""Samples of a generator among which copies are looked for."""


@settings
class ReleaseSections:
    """The top level of a release's study file.

    release: what is given. split: `given`, with members, non_members, reference (folders of images), groups (a table of
    persons) and holdout. data: how images are read; it may name the folders in place of the split. attacks: by default
    all that can be tried. policy: limits, which change no result.
    """

    study: Annotated[str, MinLen(1), MaxLen(100)]
    release: dict[str, Any]
    split: dict[str, Any]
    data: dict[str, Any] = field(default_factory=dict)
    attacks: list[Any] | None = None
    seed: int = 0
    quality: dict[str, Any] = field(default_factory=dict)
    controls: dict[str, Any] = field(default_factory=dict)
    replicates: int = 1
    audit: dict[str, Any] = field(default_factory=dict)
    results: Word = "results"
    tracking: str | None = TRACKING
    experiment: Word | None = None
    compute: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] | None = None
    keep_targets: str = "all"


def default_attacks(generated: tuple[int, ...] = GENERATED, known: int = KNOWN) -> list[dict[str, Any]]:
    """Every attack that some release can be tried by; what one does not permit is listed with the reason.

    Of capabilities that the attacks listed here do not use, every registered attack is tried. generated: numbers of
    samples. known: in percent of the members, of fitted attacks; 0 leaves these out.
    """
    numbers = list(generated)
    searches = {"generated": generated[-1], "perceptual": 0.0, "starts": 2, "steps": 50}
    fitted = [{"name": "discriminative", "known": known, "generated": generated[-1]}] if known else []
    listed: list[dict[str, Any]] = [
        {"name": "euclidean", "generated": numbers},
        {"name": "nearest", "generated": numbers},
        {"name": "monte_carlo", "generated": numbers},
        {"name": "domias", "generated": numbers},
        {"name": "gen_lra", "generated": numbers},
        {"name": "local_gan", "generated": generated[-1]},
        *fitted,
        {"name": "latent", **searches},
        {"name": "generator", **searches},
        {"name": "white_box"},
    ]
    used = frozenset[str]().union(*(ATTACKS.choose(item).build().uses for item in listed))
    return [*listed, *_others(used, known)]


def _others(used: frozenset[str], known: int) -> Iterator[dict[str, Any]]:
    """Registered attacks that use a capability which is not in `used`."""
    for name in sorted({name for capability in CAPABILITIES.keys() - used for name in attacks_on(capability)}):
        fitted = hasattr(ATTACKS.choose(name).config, "known")
        if known or not fitted:
            yield {"name": name, **({"known": known} if fitted else {})}


def natural_shape(given: Mapping[str, Any]) -> tuple[int, ...] | None:
    """(C, H, W) of the images of a release that has a shape of its own, by its section; None of samples. Runs it."""
    choice = RELEASES.choose(given, "release")
    return choice.cls.natural_shape(choice.config)


def release_fields(document: Mapping[str, Any], runs_code: bool) -> dict[str, Any]:
    """The fields of a `Spec` of a release, by name. runs_code: whether the user's code may be run."""
    sections = validate(ReleaseSections, document, "")
    release = RELEASES.choose(sections.release, "release")
    if release.cls.runs_code and not runs_code:
        raise Refused(f"release.name: {release.name} runs code that the study file names; --allow-code permits that")
    if sections.replicates != 1:
        raise Refused("replicates: a release is one trained model, so it is 1; leave it out")
    split_name = sections.split.get("name", "given")
    if split_name != "given":
        raise Refused(f"split.name: the split of a release is given, and not {split_name}")
    moved = {key: value for key, value in sections.split.items() if key in FOLDERS and value not in TREATMENTS}
    if twice := moved.keys() & sections.data.keys():
        raise Refused(f"split.{min(twice)}: is in data too; leave one of them out")
    data = SOURCES.choose({"name": "given_folders", **sections.data, **moved}, "data")
    _require_other_folders(release, data)
    items = default_attacks() if sections.attacks is None else sections.attacks
    attacks = attack_entries(items, NO_FACTORS, False, 1)
    known = max((entry.choice.build().known for entry in attacks), default=0)
    own = {key: value for key, value in sections.split.items() if key not in moved}
    split = SPLITS.choose({"known_percent": known, **own, "name": "given"}, "split")
    quality = validate(QualitySpec, _quality(sections.quality), "quality")
    controls = validate(ControlsSpec, sections.controls, "controls")
    audit = validate(AuditSpec, sections.audit, "audit")
    if audit.canaries:
        raise Refused("audit.canaries: nothing is trained, so there are none; leave it out")
    resolved = {
        "study": sections.study,
        "seed": sections.seed,
        "release": release.to_dict(),
        "data": data.to_dict(),
        "split": split.to_dict(),
        "replicates": 1,
        "attacks": [attack.to_dict() for attack in attacks],
        "quality": quality.to_dict(),
        "controls": plain(controls),
        "audit": asdict(audit),
        "keep_targets": "all",
        **({} if sections.policy is None else {"policy": policy_of(sections.policy).to_dict()}),
        **packaged(data, attacks),
    }
    return {
        "study": sections.study,
        "seed": sections.seed,
        "release": release,
        "data": data,
        "split": split,
        "train_sizes": (),
        "budget": "epochs",
        "levels": (),
        "cells": (),
        "points": (),
        "design": DesignSpec(),
        "search": None,
        "derived": (),
        "shadows": 0,
        "factors": NO_FACTORS,
        "drawn": {},
        "replicates": 1,
        "attacks": attacks,
        "default_attacks": sections.attacks is None,
        "quality": quality,
        "controls": replace(controls, nulls=min(controls.nulls, 1)),
        "audit": audit,
        "keep_targets": True,
        "results": results_location(sections.results),
        "tracking": tracking_uri(sections.tracking),
        "experiment": sections.experiment,
        "compute": validate(ComputeSpec, sections.compute, "compute"),
        "resolved": resolved,
    }


def _require_other_folders(release: Choice[Release], data: Choice[Source]) -> None:
    """Refused where samples are the records themselves: the same folder, or one in the other."""
    place = release.cls.folder(release.config)
    if place is None:
        return
    setting, given = place
    samples = expanded(given).resolve()
    for name in FOLDERS:
        root = getattr(data.config, name, None)
        if root is None or name == "groups":
            continue
        records = expanded(root).resolve()
        if samples == records or samples in records.parents or records in samples.parents:
            how = "is" if samples == records else "is in" if records in samples.parents else "has in it"
            raise Refused(
                f"release.{setting}: {given} {how} the folder of split.{name}, {root}; samples are what the "
                "generator made, in a folder of their own"
            )


def _quality(given: Mapping[str, Any]) -> dict[str, Any]:
    """Copies alone unless the study file says otherwise: measures of quality need classes, and are no subject here."""
    copies = given.get("copies", {})
    return {
        "measures": list(COPIES),
        "against": ["members"],
        "samples": SAMPLES,
        **given,
        "copies": {"extractors": [PIXELS], **copies} if isinstance(copies, Mapping) else copies,
    }


def within(
    attacks: tuple[AttackEntry, ...], count: int, offers: frozenset[str]
) -> tuple[tuple[AttackEntry, ...], tuple[int, ...]]:
    """Attacks by at most so many samples, and the numbers that were more, of attacks that a release permits.

    Of attacks that differ in nothing but their number, one sees all samples in place of those that would see more.
    """
    kept: list[AttackEntry] = []
    beyond: set[int] = set()
    full: set[str] = set()
    for entry in attacks:
        attack = entry.choice.build()
        if "samples" in attack.uses and attack.generated >= count:
            beyond |= {attack.generated} - {count} if attack.uses <= offers else set()
            if _family(entry) not in full:
                full.add(_family(entry))
                kept.append(all_of(entry, count))
        else:
            kept.append(entry)
    return tuple(kept), tuple(sorted(beyond))


def at_timesteps(attacks: tuple[AttackEntry, ...], timesteps: int) -> tuple[AttackEntry, ...]:
    """Attacks whose times, of 1,000 timesteps, are brought to the same parts of so many."""
    fitted = []
    for entry in attacks:
        settings = entry.choice.build().of_timesteps(timesteps)
        given = {**entry.choice.to_dict(), **settings}
        fitted.append(replace(entry, choice=ATTACKS.choose(given, f"attacks.{entry.label}")) if settings else entry)
    return tuple(fitted)


def all_of(entry: AttackEntry, count: int) -> AttackEntry:
    """The same attack by so many samples, with a label that says so where it did."""
    old = entry.choice.build().generated
    given = {**entry.choice.to_dict(), "generated": count}
    label = entry.label.replace(f"_generated{old}", f"_generated{count}")
    return replace(entry, label=label, choice=ATTACKS.choose(given, f"attacks.{entry.label}"))


def _family(entry: AttackEntry) -> str:
    """One text for attacks that differ in nothing but the number of samples."""
    arguments = {key: value for key, value in entry.choice.to_dict().items() if key != "generated"}
    return repr(sorted(arguments.items(), key=lambda item: item[0]))
