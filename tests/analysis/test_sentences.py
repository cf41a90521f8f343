"""Every sentence that is chosen by numbers, on a study where it is true and on one where it would be false."""

import json
import re
import string
from dataclasses import replace
from functools import cache
from itertools import product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from analysis import checks
from analysis.report import findings, headline, privacy, records_at_risk
from analysis.report.headline import SEES, verdict
from analysis.sentences import SENTENCES, filled, line
from analysis.stats import guarantees, redrawn
from analysis.study_data import VARIANT
from study.store import Store
from tests.analysis.synthetic import config_of, panel_study
from tests.analysis.visible import words_of
from tests.undrawn import draw_nothing

SOUND = pd.DataFrame({"control": ["null"], "attack": ["white_box"], "auc": [0.5], "verdict": ["not above 0.5"],
                      "ok": pd.array([True], "boolean")})  # fmt: skip
AUDIT = pd.DataFrame({"arm": ["dp_sgd 8"], "train_size": [100], "verdict": ["contradicted"],
                      "ok": pd.array([False], "boolean")})  # fmt: skip
SILENT = SOUND.assign(ok=pd.array([None], "boolean"), verdict="not run yet")
BLIND = SOUND.assign(control="blind", attack="blind", ok=pd.array([False], "boolean"))


def made(gain, arms=("none",), sizes=(100,), epochs=(10,), replicates=5, quality=None, noise=0.01, seed=1, **settings):
    """A study whose cells (arm, n, epochs) gain so much, and have such quality."""
    index = pd.MultiIndex.from_tuples(list(product(arms, sizes, epochs)), names=("arm", "train_size", "epochs"))
    random = np.random.default_rng(seed)
    measured = None
    if quality:
        measured = np.array([quality(*cell) for cell in index]) + noise * random.normal(size=(replicates, len(index)))
    settings.setdefault("records", 100)
    data = panel_study(random, [gain(*cell) for cell in index], replicates, index, measured, **settings)
    return with_columns(data, role="study")


def of_two_norms(gain):
    """DCGANs of batch norm, without a defense, and of group norm, with one too; gain(variant, arm)."""
    names = (VARIANT, "arm", "train_size", "epochs")
    index = pd.MultiIndex.from_tuples(
        [("dcgan", "none", 100, 10), ("grouped", "none", 100, 10), ("grouped", "dropout", 100, 10)], names=names
    )
    gains = [gain(*cell[:2]) for cell in index]
    data = panel_study(np.random.default_rng(1), gains, 5, index, records=100)
    norms = data.wide[VARIANT].map({"dcgan": config_of("batch"), "grouped": config_of("group")})
    return with_columns(data, role="study", config=norms)


def by_arm(**gains):
    """Gain of an arm, named by its first word; 1.5 without one."""
    return lambda arm, n, epochs: gains.get(arm.split()[0], 1.5)


def late(arm, n, epochs):
    return 1.5 * (epochs == 160)


def two_attacks(data, gain):
    """With a second attack, `other`, that gains more."""
    stronger = data.scores.assign(attack_id="other", score=data.scores["score"] + gain * data.scores["member"])
    wide = pd.concat([data.wide, data.wide.assign(attack="other", attack_id="other")], ignore_index=True)
    return replace(data, wide=wide, scores=pd.concat([data.scores, stronger], ignore_index=True))


def persons(data):
    """Two records a person, IN or OUT together."""
    scores = data.scores.assign(unit=data.scores["query"] // 2)
    scores["member"] = scores.groupby(["trial_id", "unit"])["member"].transform("first")
    return replace(data, scores=scores)


def with_columns(data, **columns):
    return replace(data, wide=data.wide.assign(**columns))


def by_unit(data):
    """One arm per person, others per record, as a store says it."""
    return with_columns(data, epsilon_unit=np.where(data.wide["arm"] == "dp_sgd 8", "person", "record"))


def without(data, where):
    """Without the rows of some trials."""
    return replace(data, wide=data.wide[~where(data.wide)].reset_index(drop=True))


BOTH = ("none", "dropout")
GRID = {"sizes": (100, 400), "epochs": (10, 160)}
ONE_EPSILON = {"arms": ("none", "dp_sgd 8")}
MANY = ("none", "dropout", "dp_sgd 8", "dp_sgd 2")
PATH = {"arms": BOTH, "epochs": (10, 160)}


def path_quality(arm, n, epochs):
    return 1.5 if arm == "dropout" else {10: 2.0, 160: 1.0}[epochs]


STUDIES = {
    "leaks": lambda: made(by_arm()),
    "leaks nothing": lambda: made(by_arm(none=0.0)),
    "public": lambda: replace(made(by_arm()), scores=None),
    "many records": lambda: made(by_arm(), replicates=6, records=400),
    "stronger other": lambda: two_attacks(made(by_arm(none=0.3)), 2.0),
    "both arms leak": lambda: made(by_arm(), BOTH),
    "one arm leaks": lambda: made(by_arm(dropout=0.0), BOTH),
    "no arm leaks": lambda: made(by_arm(none=0.0, dropout=0.0), BOTH),
    "white box": lambda: with_columns(made(by_arm()), access="WHITE_BOX"),
    "all access": lambda: with_columns(made(by_arm()), access=list(SEES)),
    "leaks late": lambda: made(late, epochs=(10, 160), quality=lambda arm, n, e: 10 / e),
    "leaks early": lambda: made(lambda arm, n, e: 1.5 * (e == 10), epochs=(10, 160), quality=lambda arm, n, e: e / 10),
    "size and epochs": lambda: made(lambda arm, n, e: 2.0 * (n == 100 and e == 160), **GRID),
    "nothing changes it": lambda: made(by_arm(), **GRID),
    "defense": lambda: made(by_arm(dropout=0.0), BOTH, quality=lambda *cell: 1.0),
    "defense in vain": lambda: made(by_arm(), BOTH, quality=lambda *cell: 1.0),
    "stopping is best": lambda: made(
        lambda arm, n, e: 0.8 if arm == "dropout" else 2.0 * (e == 160), BOTH, epochs=(10, 160)
    ),
    "defense costs": lambda: made(by_arm(dropout=0.0), BOTH, quality=lambda arm, n, e: 1.0 + 2 * (arm == "dropout")),
    "defense helps": lambda: made(by_arm(dropout=0.0), BOTH, quality=lambda arm, n, e: 1.0 - 0.5 * (arm == "dropout")),
    "noisy quality": lambda: made(by_arm(dropout=0.0), BOTH, quality=lambda *cell: 1.0, noise=1.0),
    "KID near 0": lambda: made(by_arm(dropout=0.0), BOTH, quality=lambda *cell: 0.001, noise=0.01),
    "beats stopping": lambda: made(
        lambda arm, n, e: 0.0 if arm == "dropout" else {10: 1.0, 160: 2.5}[e], **PATH, quality=path_quality
    ),
    "as good as stopping": lambda: made(
        lambda arm, n, e: 1.3 if arm == "dropout" else {10: 0.2, 160: 2.5}[e],
        **PATH,
        quality=lambda *cell: min(1.2, path_quality(*cell)) if cell[0] == "dropout" else path_quality(*cell),
    ),
    "many defenses": lambda: made(by_arm(dropout=0.1, dp_sgd=0.0), MANY, quality=lambda *cell: 1.0),
    "many defenses of unknown quality": lambda: made(by_arm(dropout=0.1, dp_sgd=0.0), MANY),
    "many defenses and stopping": lambda: made(
        lambda arm, n, e: 1.5 * (arm == "none" and e == 160), MANY, epochs=(10, 160)
    ),
    "private": lambda: made(by_arm(dp_sgd=0.0), **ONE_EPSILON),
    "strongly private": lambda: made(by_arm(dp_sgd=0.0), ("none", "dp_sgd 2")),
    "private in vain": lambda: made(by_arm(), **ONE_EPSILON),
    "unit is a person": lambda: with_columns(made(by_arm(dp_sgd=0.0), ("none", "dp_sgd 2")), epsilon_unit="person"),
    "unit is a person, in vain": lambda: with_columns(made(by_arm(dp_sgd=0.0), **ONE_EPSILON), epsilon_unit="person"),
    "both units": lambda: by_unit(made(by_arm(dp_sgd=0.0), ("none", "dp_sgd 8", "dp_sgd 2"))),
    "private persons": lambda: persons(made(by_arm(dp_sgd=0.0), records=160, **ONE_EPSILON)),
    "three replicates": lambda: made(by_arm(), replicates=3),
    "two replicates": lambda: made(by_arm(), replicates=2),
    "eight replicates": lambda: made(by_arm(), replicates=8),
    "nothing in eight replicates": lambda: made(by_arm(none=0.0), replicates=8),
    "twelve replicates": lambda: made(by_arm(), replicates=12, records=60),
    "perfect": lambda: made(lambda *cell: 50.0, unequal=False),
    "one diverged": lambda: replace(made(by_arm()), diverged=frozenset({"lost"})),
    "flagged": lambda: with_columns(made(by_arm()), flags="diverged"),
    "group norm leaks less": lambda: of_two_norms(lambda variant, arm: 2.0 * (variant == "dcgan")),
    "group norm leaks more": lambda: of_two_norms(lambda variant, arm: 2.0 * (variant != "dcgan")),
    "group norm alone": lambda: with_columns(made(by_arm(dropout=0.0), BOTH), config=config_of("group")),
    "lacks a cell": lambda: without(made(by_arm(), **GRID), lambda w: (w["train_size"] == 400) & (w["epochs"] == 160)),
    "lacks a trial": lambda: without(made(by_arm(), **GRID), lambda w: w["trial_id"] == "t3"),
}

PAIRS = {
    "leakage shown": ("leaks", "leaks nothing"),
    "leakage not shown": ("leaks nothing", "leaks"),
    "leakage not tested": ("public", "leaks"),
    "tpr": ("many records", "leaks"),
    "stronger attack": ("stronger other", "leaks"),
    "all cells leak": ("both arms leak", "one arm leaks"),
    "some cells leak": ("one arm leaks", "both arms leak"),
    "no cell leaks": ("no arm leaks", "one arm leaks"),
    "most leaking": ("one arm leaks", "no arm leaks"),
    "not tried": ("white box", "all access"),
    "all access tried": ("all access", "white box"),
    "one level": ("leaks", "leaks late"),
    "lowers": ("leaks late", "leaks early"),
    "raises": ("leaks early", "leaks late"),
    "lowers alone": ("group norm leaks less", "group norm leaks more"),
    "raises alone": ("group norm leaks more", "group norm leaks less"),
    "worse samples": ("leaks late", "leaks early"),
    "better samples": ("leaks early", "leaks late"),
    "change not settled": ("nothing changes it", "size and epochs"),
    "no defense": ("leaks", "defense"),
    "compared on": ("group norm leaks less", "group norm alone"),
    "no defense lowers": ("defense in vain", "defense"),
    "use": ("defense", "defense in vain"),
    "stop early": ("stopping is best", "defense"),
    "small loss": ("defense", "KID near 0"),
    "loss": ("defense costs", "defense"),
    "gain": ("defense helps", "defense"),
    "loss not settled": ("noisy quality", "defense"),
    "better than stopping": ("beats stopping", "as good as stopping"),
    "no better than stopping": ("as good as stopping", "beats stopping"),
    "other": ("many defenses of unknown quality", "defense"),
    "other with quality": ("many defenses", "many defenses of unknown quality"),
    "more others": ("many defenses and stopping", "many defenses"),
    "guarantees nothing": ("defense", "private"),
    "guarantee": ("strongly private", "private"),
    "empty guarantee": ("private", "strongly private"),
    "guarantee of a person": ("unit is a person", "strongly private"),
    "empty guarantee of a person": ("unit is a person, in vain", "unit is a person"),
    "guessable noise": ("private; noise from the seed", "private"),
    "per person": ("private; pool at hand", "private"),
    "not per person": ("private persons", "private"),
    "descriptive": ("three replicates", "leaks"),
    "incomplete": ("leaks; missing", "leaks"),
    "public": ("public", "leaks"),
    "no control": ("leaks; no controls", "leaks"),
    "failed": ("leaks; blind finds", "leaks"),
    "controls of a public copy": ("leaks; no controls", "leaks"),
    "failed control": ("leaks; blind finds", "leaks"),
    "blind finds": ("leaks; blind finds", "leaks"),
    "silent control": ("leaks; silent", "leaks"),
    "false claim": ("leaks; false claim", "leaks"),
    "searched": ("leaks; searched", "leaks"),
    "sweep not complete": ("leaks; planned more", "leaks"),
    "diverged": ("one diverged; planned more", "leaks; planned more"),
    "attack not complete": ("leaks; attack planned more", "leaks"),
    "not published": ("group norm alone", "group norm leaks less"),
    "few replicates": ("three replicates", "leaks"),
    "missing cells": ("lacks a cell", "nothing changes it"),
    "unequal replicates": ("lacks a trial", "nothing changes it"),
    "flagged": ("flagged", "leaks"),
    "no quality": ("leaks", "defense"),
    "few non-members": ("leaks", "many records"),
    "perfect": ("perfect", "leaks"),
    "fitted on each other": ("leaks; an old ensemble", "leaks"),
    "nothing to compare": ("leaks", "leaks late"),
    "epsilon per record": ("private", "both units"),
    "epsilon per person": ("unit is a person", "both units"),
    "epsilon per record or person": ("both units", "unit is a person"),
    "records leak": ("eight replicates", "nothing in eight replicates"),
    "no record leaks": ("nothing in eight replicates", "eight replicates"),
    "one-sided records": ("three replicates", "two replicates"),
    "records named": ("eight replicates", "two replicates"),
    "few replicates for records": ("nothing in eight replicates", "eight replicates"),
    "records not told apart": ("two replicates", "eight replicates"),
    "reliable": ("eight replicates", "three replicates"),
    "reliability not known": ("three replicates", "eight replicates"),
}
"""Of each sentence, a study of which it is true and one of which it would be false; after `;` what is known beside."""


def design_of(data, beside):
    """Rows of a design that wants the study's trials, and more."""
    trials = list(data.wide["trial_id"].unique()) + (["lost"] if beside == "planned more" else [])
    role = "adaptive" if beside == "searched" else "study"
    rows = [{"trial_id": trial, "role": role, "kind": "trial", "label": "trial"} for trial in trials]
    labels = [*data.attacks, *(["local_gan"] if beside == "attack planned more" else [])]
    rows += [
        {"trial_id": trial, "role": role, "kind": "attack", "label": label} for trial, label in product(trials, labels)
    ]
    return pd.DataFrame(rows)


@cache
def said(name):
    """Every sentence of the verdict, the cautions and the sections on what changes it and on records."""
    study, _, beside = name.partition("; ")
    data = STUDIES[study]()
    found = {"blind finds": BLIND, "silent": SILENT, "no controls": pd.DataFrame()}
    controls = found.get(beside, SOUND)
    audits = AUDIT if beside == "false claim" else pd.DataFrame()
    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch)
        patch.setattr(redrawn, "DRAWS", 399)
        patch.setattr(Store, "public", True)  # where a study has no scores
        tables = {"design": design_of(data, beside), "attacks": pd.DataFrame(columns=["trial_id", "attack", "skipped"])}
        data.kept.update({("table", name): table for name, table in tables.items()})
        patch.setattr(checks, "fitted_on_each_other", lambda rows: beside == "an old ensemble")
        patch.setattr(headline, "_noise_is_guessable", lambda data: beside == "noise from the seed")
        if beside == "pool at hand":
            patch.setattr(guarantees, "pool_at_hand", lambda data: SimpleNamespace(units=np.arange(200) // 4))
            data.wide["sigma"], data.wide["steps"] = 5.0, 100
            trained = {"defense": None, "train_size": 100, "training": {"batch_size": 100}}
            data.wide["config"] = json.dumps(json.loads(config_of("batch")) | trained)
        found = verdict(data, controls, audits, missing=2 if beside == "missing" else 0)
        cautions = checks.cautions(data, controls, audits)
        sections = [findings.changes(data, found), records_at_risk.risk(data, found, False)]
    texts = [words_of(sentence) for sentence in found.sentences]
    texts += [
        words_of(block.words) for section in sections if section for block in section.blocks if block.kind == "text"
    ]
    texts += [privacy.about_epsilon(data)] if data.private else []
    return [*texts, *found.reasons, *cautions]


def pattern(name):
    """What the sentence looks like with anything in its fields; a field that may be nothing may be missing."""
    parts = string.Formatter().parse(SENTENCES[name])
    return "".join(re.escape(text) + ("" if field is None else ".*?") for text, field, _, _ in parts)


def test_every_sentence_has_a_study_where_it_is_true_and_one_where_it_would_be_false():
    assert set(PAIRS) == set(SENTENCES)


@pytest.mark.long
@pytest.mark.parametrize("name", SENTENCES)
def test_a_sentence_is_said_where_it_is_true_and_not_where_it_would_be_false(name):
    true, false = PAIRS[name]
    assert any(re.search(pattern(name), text, re.IGNORECASE) for text in said(true)), said(true)
    assert not any(re.search(pattern(name), text, re.IGNORECASE) for text in said(false)), said(false)


def test_a_sentence_is_its_words_and_numbers_in_order():
    assert filled("tpr", tpr=0.5) == (
        "; with 1 % of other records named wrongly, it names ",
        0.5,
        " of the training records",
    )
    assert filled("other", arm="dropout", auc="0.5", guarantee=()) == ("; dropout lowers it to 0.5",)
    assert line("no quality") == SENTENCES["no quality"]
    with pytest.raises(KeyError):
        filled("tpr")
