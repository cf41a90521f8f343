"""A study as the analysis sees it: the wide table of its store, one row a trial x attack."""

import json
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from mia_core.defenses import labels_of
from mia_core.errors import Refused
from mia_core.persons import RECORD
from study.design.looks import Declared, declared
from study.design.trial_config import TrialConfig, parsed
from study.spec.factors import Budget, budget_of
from study.spec.objectives import EXTRACTOR, ONNX
from study.store import Store, read
from study.store.reading import last_levels
from study.store.roles import STUDIED
from study.store.rows import DIVERGED

Kept = TypeVar("Kept")

ARM = "arm"
VARIANT = "variant"
SETTINGS = ("target.", "training.")
"""How factors begin that are settings with columns of their own; a defense's are told by its arm."""


@dataclass(frozen=True)
class StudyData:
    """folder: where the study is. wide: the table of that name for trials of the study or search; no skipped rows.

    resolved: the spec that wants them. scores: rows of the table of that name, by default the store's. diverged: ids of
    trials whose training diverged, which have no rows. Two columns are added for display: `arm`, and `variant`, the
    target with the levels of further factors.
    """

    name: str
    folder: str | Path
    wide: pd.DataFrame
    resolved: Mapping[str, Any] = field(default_factory=dict)
    scores: pd.DataFrame | None = field(default=None, repr=False, compare=False)
    diverged: frozenset[str] = frozenset()
    kept: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What was read and computed of it, by `once`."""

    def once(self, key: Any, make: Callable[[], Kept]) -> Kept:
        """What `make` gives, made the first time that the key is asked for. Nobody may change it."""
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]

    @property
    def store(self) -> Store:
        """Where it was read from."""
        return Store.at(self.folder)

    def table(self, name: str) -> pd.DataFrame:
        """A whole table of the store's current design, of trials of every role, as `study.store.read` has it."""
        return self.once(("table", name), lambda: read(self.store.root, self.name, name))

    @property
    def declaration(self) -> Declared | None:
        """What the study declared before any result; None for data without a store."""
        return self.once("declaration", lambda: declared(self.store) if self.store.place.exists("study.json") else None)

    @property
    def looks(self) -> int:
        """How often the growing study was looked at, this time included."""
        return self.declaration.looks if self.declaration else 1

    @property
    def budget(self) -> Budget:
        """What its levels of training count: epochs, or steps (discriminator updates)."""
        return budget_of(self.resolved.get("factors", {}))

    @property
    def cell(self) -> tuple[str, str, str, str]:
        """What names a cell: all factors beyond the three of every study are one word, the variant."""
        return (VARIANT, ARM, "train_size", self.budget)

    @property
    def last(self) -> pd.DataFrame:
        """The rows after the last level of training."""

        def found() -> pd.DataFrame:
            return self.wide[self.wide[self.budget] == self.wide[self.budget].max()]

        return self.once("last", found).copy(deep=False)

    @property
    def attacks(self) -> list[str]:
        """Labels, in the order of the spec."""
        return list(self.once("attacks", lambda: list(dict.fromkeys(self.wide["attack"]))))

    @property
    def primary(self) -> str:
        """The attack that was declared before any result: `audit.attack` after its last steps, else the first."""
        family = (self.resolved.get("audit") or {}).get("attack") or self.attacks[0]
        alike = [label for label in last_levels(self.wide) if label.startswith(f"{family}_steps")]
        return family if family in self.attacks or not alike else alike[0]

    @property
    def factors(self) -> dict[str, list[Any]]:
        """Levels, in order, of every column that has several: train_size, the budget, arm, target, and settings."""
        settings = [name for name in self.wide.columns.astype(str) if name.startswith(SETTINGS)]
        found: dict[str, list[Any]] = {}
        for name in ("train_size", self.budget, ARM, "target" if "target" in self.wide else VARIANT, *settings):
            values = self.wide[name].dropna()
            words = self.arms if name == ARM else list(dict.fromkeys(values))
            levels = sorted(words) if pd.api.types.is_numeric_dtype(values) else words
            if len(levels) > 1:
                found[name] = levels
        return found

    @property
    def arms(self) -> list[str]:
        """`none` first, then by strength."""
        return self.once("arms", self._arms)

    @property
    def control_arms(self) -> frozenset[str]:
        """Arms that take a defense apart to see what does it: none that anybody would use."""

        def found() -> frozenset[str]:
            pairs = self.wide[[ARM, "config"]].drop_duplicates("config").itertuples(index=False)
            return frozenset(arm for arm, text in pairs if TrialConfig.parse(text).arm.control)

        return self.once("control arms", found)

    def _arms(self) -> list[str]:
        order = self.wide[[ARM, "defense", "strength"]].drop_duplicates().copy()
        order["control"] = order["defense"] != "none"
        return order.sort_values(["control", "defense", "strength"])[ARM].tolist()

    @property
    def variants(self) -> list[str]:
        """Targets with the levels of further factors, in the order of the spec."""
        return list(dict.fromkeys(self.wide[VARIANT]))

    @property
    def published(self) -> list[str]:
        """Variants that are published networks, as far as that changes what they leak."""

        def found() -> list[str]:
            pairs = self.wide[[VARIANT, "config"]].drop_duplicates("config")
            targets = [(variant, TrialConfig.parse(text).target) for variant, text in pairs.itertuples(index=False)]
            others = {variant for variant, target in targets if not target.cls.is_published(target.config)}
            return [variant for variant in self.variants if variant not in others]

        return self.once("published", found)

    @property
    def quality(self) -> str | None:
        """The measure that stands for quality: KID before FID, against unseen records before members; None without."""
        names = [
            f"{measure}_{extractor}_{against}"
            for extractor in (EXTRACTOR, ONNX)
            for measure in ("kid", "fid")
            for against in ("unseen", "members")
        ]
        return next((name for name in names if name in self.wide and self.wide[name].notna().any()), None)

    @property
    def drawn(self) -> bool:
        """Whether its design draws points from ranges, and crosses no levels."""
        return "design" in self.resolved

    @property
    def searched(self) -> bool:
        """Whether a search chose its points, by what had come out of others."""
        return "search" in self.resolved

    @property
    def crossed(self) -> bool:
        """Whether it crosses levels, so that there are cells to compare."""
        return not (self.drawn or self.searched)

    @property
    def public(self) -> bool:
        """Whether this is a public copy of a study, which has no scores."""
        return self.scores is None and self.once("public", lambda: self.store.public)

    @property
    def private(self) -> bool:
        """Whether any arm has an epsilon."""
        return bool(self.wide["epsilon"].notna().any())

    def private_under(self, attack: str) -> bool:
        """Whether any arm has an epsilon where this attack was run; it may fit other targets alone."""
        return bool(self.attack(attack)["epsilon"].notna().any())

    @property
    def epsilon_units(self) -> set[str]:
        """What its epsilons are about: RECORD, PERSON, or both; empty without any."""
        rows = self.wide[self.wide["epsilon"].notna()]
        return set(rows.get("epsilon_unit", pd.Series(RECORD, rows.index)).fillna(RECORD))

    @property
    def replicates(self) -> int:
        """How many independent repetitions there are."""
        return int(self.wide["replicate"].nunique())

    def target_of(self, variant: str) -> str:
        """The label of a variant's target."""
        label: str = self.once("targets", lambda: dict(zip(self.wide[VARIANT], self.wide["target"], strict=True)))[
            variant
        ]
        return label

    def with_target(self, variant: str, target: str) -> str:
        """The variant that has another target, and the same levels of further factors."""
        return target + variant.removeprefix(self.target_of(variant))

    def apart(self, variant: str, other: str) -> str:
        """In what settings two variants of one target differ, in words: `norm group instead of batch`; else nothing."""
        configs = self.wide.drop_duplicates(VARIANT).set_index(VARIANT)["config"]
        ours, theirs = (TrialConfig.parse(configs[name]).target for name in (variant, other))
        if ours.name != theirs.name:
            return ""
        after, before = ours.settings(), theirs.settings()
        differing = [(key, x, before.get(key)) for key, x in after.items() if before.get(key) != x]
        return ", ".join(f"{key} {x} instead of {y}" for key, x, y in differing)

    def words(self, name: str, level: Any) -> str:
        """A level of a column of `cell`: `n = 100`, `20 epochs`; variants and arms are words."""
        return {"train_size": f"n = {level}", self.budget: f"{level} {self.budget}"}.get(name, str(level))

    def refuse_a_search(self) -> None:
        """ValueError for a search: no effect is estimated from points that were chosen by what came out."""
        if self.searched:
            raise Refused(chosen_by_search(str(self.folder)))

    def attack(self, label: str) -> pd.DataFrame:
        """The rows of one attack, one a trial; ValueError for an unknown label."""
        if label not in self.attacks:
            raise Refused(f"attack {label!r} is not in study {self.name}; it has {', '.join(self.attacks)}")
        return self.once(("attack", label), lambda: self.wide[self.wide["attack"] == label]).copy(deep=False)


def load(folder: str | Path) -> StudyData:
    """Read e.g. results/digits; ValueError when no trial is sealed there yet."""
    store = Store.at(folder)
    resolved = store.resolved()
    if "release" in resolved:
        raise Refused(
            f"{store.uri} is a release, of one model that was given: nothing is varied, and no effect estimated; "
            f"{shlex.join(['mia-study', 'report', store.uri])} writes its page"
        )
    every = wide = read(store.root, store.study, "wide")
    diverged = frozenset(wide.loc[wide["role"].isin(STUDIED) & (wide["flags"] == DIVERGED), "trial_id"])
    wide = wide[wide["role"].isin(STUDIED) & wide["auc"].notna()].reset_index(drop=True)
    if wide.empty:
        none = f"{len(diverged)} trainings diverged, and nothing was attacked; lower training.learning_rate"
        raise Refused(f"{store.uri}: {none if diverged else 'no sealed trial with an attack yet'}")
    if wide[budget_of(resolved["factors"])].isna().any():
        raise Refused(f"{store.uri}: trials lack their {budget_of(resolved['factors'])}, which the study varies")
    arms = {text: config.arm for text, config in parsed(wide["config"]).items()}
    words = labels_of(arms.values())
    wide[ARM] = wide["config"].map({text: words[arm] for text, arm in arms.items()})
    wide[VARIANT] = variants_of(wide, resolved["factors"])
    data = StudyData(store.study, store.uri, quick_to_select(wide), resolved, diverged=diverged)
    data.once(("table", "wide"), lambda: every)
    return data


def quick_to_select(table: pd.DataFrame) -> pd.DataFrame:
    """The same table, with texts as plain objects: all of its columns then lie in a few arrays.

    Rows of it are selected a thousand times for a report, and each selection costs by the number of arrays, not of
    rows. Null stays null.
    """
    texts = {name: object for name, kind in table.dtypes.items() if isinstance(kind, pd.StringDtype)}
    return table.astype(texts).copy()


def short(store: Store) -> str:
    """Where a study is, as a page may say it: its way down from the folder that the command runs in, else its name.

    The folders above name machines and people, and so does a way down from the root or from above the home folder.
    """
    if "://" in store.uri:
        return store.uri
    folder, here = Path(store.uri), Path.cwd()
    telling = here in (Path("/"), *Path(os.environ.get("HOME", "/")).parents)
    if telling or here == folder or not folder.is_relative_to(here):
        return store.study
    return folder.relative_to(here).as_posix()


def chosen_by_search(place: str) -> str:
    """Why there are no effects of a search, and what there is instead."""
    return (
        "A search chose these points by what came out, so no effect is estimated from them; "
        f"{shlex.join(['mia-study', 'search', place])} shows the best, and with --confirm POINT makes a study of one "
        "in replicates that the search has not seen."
    )


def words_of_measure(quality: str) -> str:
    """A measure of quality in a word or two: `kid_domain_unseen` is KID, against members it says so."""
    measure, _, against = quality.rsplit("_", 2)
    words = {"kid": "KID", "fid": "FID"}.get(measure, measure)
    return words if against == "unseen" else f"{words} against {against}"


def lower_is_better(quality: str) -> bool:
    """Whether a measure of quality is a distance (KID, FID); the others are shares."""
    return quality.startswith(("kid", "fid"))


def variants_of(wide: pd.DataFrame, factors: dict) -> pd.Series:
    """The target of each row of a wide table, with its levels of further factors, in words."""
    words = wide["target"].astype("object")
    for name in factors:
        if name.startswith(SETTINGS):
            levels = wide[name] if name in wide else wide["config"].map(lambda text, name=name: _setting(text, name))
            words = words + f" {name}=" + levels.map(lambda level: f"{level:g}" if isinstance(level, float) else level)
    return words


def _setting(config: str, name: str) -> str:
    section, _, key = name.partition(".")
    found = TrialConfig.parse(config).value(section, dict)
    if key not in found:
        raise Refused(f"a trial's config has no {name}")
    return json.dumps(found[key])
