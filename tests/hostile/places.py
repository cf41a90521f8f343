"""Where a store, a spec or a pointer holds texts, names and texts for people, and how one comes there."""

import json

from study.store import Store, read
from tests.analysis.synthetic import write_store
from tests.forging import (
    of_format_3,
    rewrite,
    rewrite_design,
    rewrite_pointer,
    rewrite_spec,
    with_column,
    with_json,
    with_text,
)

FEW = ("replicates=3", "factors.target.norm=[group, none]", "factors.train_size=[40]", "factors.epochs=[1]",
       "factors.defense=[none]", "split.panel=40")  # fmt: skip


def made(root, *overrides):
    """A small sealed study, whose scores are made."""
    store = Store.at(write_store(root, lambda trial: 0.5, overrides=(*FEW, *overrides)))
    finished = {"versions": '{"torch": "2.13"}', "device": "cpu"}
    for column, text in finished.items():
        rewrite(store, "trials", lambda table, column=column, text=text: with_text(table, column, text))
    return store


def text_in(table, column, **where):
    def forge(store, text):
        rewrite(store, table, lambda rows: with_text(rows, column, text, lambda row: where.items() <= row.items()))

    return forge


def design_text(column, **where):
    def forge(store, text):
        rewrite_design(store, lambda rows: with_text(rows, column, text, lambda row: where.items() <= row.items()))

    return forge


def column_of(table, form="{}"):
    return lambda store, text: rewrite(store, table, lambda rows: with_column(rows, form.format(text), "x"))


def spec_text(change):
    return lambda store, text: rewrite_spec(store, lambda spec: change(spec, text))


def config_text(store, text):
    def change(config):
        config.update(defense=[{"name": text}])

    rewrite(store, "trials", lambda rows: with_json(rows, "config", change))


def factor_of_design(store, text):
    def change(levels):
        levels.update({text: 1})

    rewrite_design(store, lambda rows: with_json(rows, "levels", change))


LOADERS = ("report", "tables", "figures", "notebooks")
ROWS = ("trial_id", "trajectory_id", "role", "dataset", "target", "split", "defense", "config", "versions")
MEASURES = ("measure", "measure_id", "extractor", "against", "extractor_sha256", "arguments")
ATTACKS = ("attack", "attack_id", "access", "epsilon_method", "arguments")
DESIGN = ("trial_id", "trajectory_id", "role", "kind", "id", "levels")
OF_PASSES, OF_SCORES = ("check", *LOADERS, "track"), ("check", "report", "figures", "track")
OF_DESIGN, OF_SPEC = ("check", *LOADERS, "status", "controls", "audit"), ("check", *LOADERS, "plan", "track", "audit")
NAMES = {
    "a column of trials": (column_of("trials"), OF_PASSES),
    "a setting's column": (column_of("trials", "target.{}"), OF_PASSES),
    **{f"trials.{name}": (text_in("trials", name), OF_PASSES) for name in ROWS},
    **{f"quality.{name}": (text_in("quality", name), OF_PASSES) for name in MEASURES},
    **{f"attacks.{name}": (text_in("attacks", name), OF_PASSES) for name in ATTACKS},
    **{f"scores.{name}": (text_in("scores", name), OF_SCORES) for name in ("trial_id", "attack_id")},
    "an arm in a config": (config_text, LOADERS),
    **{f"design.{name}": (design_text(name), OF_DESIGN) for name in DESIGN},
    "an attack's label in a design": (design_text("label", kind="attack"), OF_DESIGN),
    "a measure's label in a design": (design_text("label", kind="measure"), OF_DESIGN),
    "a factor in a design": (factor_of_design, OF_DESIGN),
    "a factor in a spec": (spec_text(lambda spec, text: spec["factors"].update({text: [1]})), OF_SPEC),
    "an attack in a spec": (spec_text(lambda spec, text: spec["attacks"][0].update(label=text)), OF_SPEC),
    "the audit's attack in a spec": (spec_text(lambda spec, text: spec.update(audit={"attack": text})), OF_SPEC),
    "the versions in the pointer": (lambda store, text: rewrite_pointer(store, versions=text), (*OF_DESIGN, "track")),
    "a spec's hash in the pointer": (lambda store, text: rewrite_pointer(store, spec=text), (*OF_DESIGN, "track")),
}
"""Where a text is a name, and refused: how it comes there, and by which readers."""


def some_texts(store, text):
    """A text wherever one is only told to people, and wherever it is a level."""
    added = {text: text, "lock": text}

    def trials(table):
        for column in ("study", "device", "flags"):
            table = with_text(table, column, text)
        table = with_text(table, "target.norm", text, lambda row: row["target.norm"] == "group")
        table = with_json(table, "versions", lambda own: own.update(added))
        return with_json(table, "config", lambda own: own["data"].update(added))

    def attacks(table):
        return with_text(with_text(with_text(table, "knowledge", text), "flags", text), "skipped", text)

    def level(own):
        own.update({"target.norm": text if own.get("target.norm") == "group" else "none"})

    def design(table):
        table = with_text(table, "label", text, lambda row: row["kind"] in ("trial", "control"))
        table = with_text(table, "skipped", text, lambda row: row["kind"] == "control")
        return with_json(table, "levels", level)

    of_format_3(store)
    rewrite(store, "trials", trials)
    rewrite(store, "attacks", attacks)
    rewrite_design(store, design)
    rewrite_spec(store, lambda spec: spec["data"].update({"root": text, text: text}))
    rewrite_spec(store, lambda spec: spec.update(about=text))
    rewrite_pointer(store, study=text, versions={text: text, "torch": text}, git_commit=text, lock=text)
    trial = read(store.root, store.study, "trials").iloc[0]
    told = dict.fromkeys(("trajectory_id", "trial_id", "trial", "error", "traceback", "command", text), text)
    store.save_failure(trial["trajectory_id"], told)
    running = [{"trajectory_id": text, "trial": text, "seconds": 1.0}]
    state = {"pid": text, "at": "2026-01-01T00:00:00+00:00", "started_at": "2026-01-01T00:00:00+00:00",
             "queued": text, "running": running, "failed": [text], "last_error": text, text: text}  # fmt: skip
    (store.folder / "progress.json").write_text(json.dumps(state))
