"""Several targets of one name in a study: told apart by labels, limited to arms, compared with the first."""

import pandas as pd
import pytest

from mia_core.errors import Refused
from study.design.design_rows import design_rows
from study.design.work import missing
from study.plan import spread
from study.run.runner import Runner
from study.spec.family import contrasts_of
from study.spec.study_file import parse
from study.store import read
from tests.small import small_spec

NORMS = (
    "factors.target=[{name: dcgan, width: 4, latent: 8, norm: batch, arms: none}, "
    "{name: dcgan, label: grouped, width: 4, latent: 8}]"
)
FEW = ("target=~", NORMS, "attacks=[white_box]", "quality.measures=[kid]", "quality.against=[unseen]")


def several(*overrides):
    return small_spec("target=~", NORMS, *overrides)


def test_a_target_is_trained_under_the_arms_it_is_limited_to():
    trained = {(cell.label, cell.target.config.norm, cell.arm.label) for cell in several().cells}
    arms = ("none", "dropout 0.5", "dp_sgd sigma=1")
    assert trained == {("dcgan", "batch", "none"), *(("grouped", "group", arm) for arm in arms)}
    some = several(
        "factors.target.grouped.arms=[none, dp_sgd, dropout 0.5]", "factors.target.dcgan.arms=[dropout, none]"
    )
    assert {cell.arm.label for cell in some.cells if cell.label == "dcgan"} == {"none", "dropout 0.5"}
    assert len(several().cells) == 2 * (1 + 3)


def test_a_label_names_the_trials_and_changes_no_id(make_design):
    design = make_design(*FEW)
    renamed = make_design(*FEW, "factors.target.grouped.label=other")
    assert [trial.trial_id for trial in design.every] == [trial.trial_id for trial in renamed.every]
    assert {trial.name.split()[0] for trial in renamed.trials} == {"dcgan", "other"}
    assert len({trial.trial_id for trial in design.trials}) == len(design.trials)
    alone = make_design("attacks=[white_box]", "quality.measures=[kid]", "quality.against=[unseen]")
    assert {trial.trial_id for trial in alone.trials} <= {trial.trial_id for trial in design.trials}


def test_every_target_has_null_controls_of_its_own(make_design):
    nulls = [trial for trial in make_design(*FEW).controls if trial.role == "null"]
    assert {trial.cell.label for trial in nulls} == {"dcgan", "grouped"}
    assert all(trial.cell.arm.label == "none" for trial in nulls)


def test_a_spec_with_labels_is_read_again_as_the_same_one():
    spec = several()
    assert parse(spec.resolved).resolved == spec.resolved
    assert [(cell.label, cell.arm) for cell in parse(spec.resolved).cells] == [(c.label, c.arm) for c in spec.cells]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("factors.target.grouped.label=dcgan", "factors.target: 'dcgan' is there twice; give each its own `label:`"),
        ("factors.target.grouped.label=began", "label 'began' must be a word .* and no other target's name"),
        ("factors.target.grouped.label=a b", "label 'a b' must be a word"),
        ("factors.target.grouped.label=norm", "label 'norm' must be a word .* no setting's"),
        ("factors.target.grouped.label=copycat", "label 'copycat' must be a word .* no control's"),
        ("factors.target.grouped.label='7'", "label '7' must be a word .* and no number"),
        ("factors.target.grouped.arms=[[none]]", r"grouped.arms: unknown arm \"\['none'\]\""),
        ("factors.target.1.norm=batch", "dcgan and grouped are the same network, trained the same way"),
        ("factors.target.group.norm=none", "factors.target: no target 'group'; did you mean 'grouped'?"),
        ("factors.target.grouped.arms=[nonne]", "grouped.arms: unknown arm 'nonne'; did you mean 'none'?"),
        ("factors.target.grouped.arms=[]", "grouped.arms: needs at least one level"),
        ("factors.target.grouped.arms=none", "no target is trained under dropout 0.5; name it in the `arms` of one"),
        ("factors.target.grouped.norm=batch", "dcgan and grouped are the same network, trained the same way"),
        ("contrasts=[{factor: target, level: began}]", "unknown level 'began'"),
    ],
)
def test_what_does_not_go_together_is_refused(override, message):
    with pytest.raises(Refused, match=message):
        several(override)


def test_points_that_are_drawn_combine_every_target_with_every_arm():
    with pytest.raises(Refused, match=r"dcgan.arms: points that are drawn combine every target with every arm"):
        several("design={name: random, points: 4}")


def test_targets_of_one_name_are_compared_with_the_published_one_and_no_others_are():
    def of_targets(*overrides):
        return [c for c in contrasts_of(several(*overrides).resolved) if c.factor == "target"]

    found = of_targets()
    assert [(c.level, c.baseline, dict(c.at)) for c in found] == [
        ("grouped", "dcgan", {"defense": "none", "train_size": n, "epochs": 2}) for n in (40, 80)
    ]
    assert found[0].ends[1] == {"defense": "none", "train_size": 40, "epochs": 2, "target": "dcgan"}
    turned = (
        "factors.target=[{name: dcgan, label: grouped, width: 4}, {name: dcgan, width: 4, norm: batch, arms: none}]"
    )
    assert {(c.level, c.baseline) for c in of_targets(turned)} == {("grouped", "dcgan")}, "wherever it stands"
    others = "factors.target=[{name: dcgan, width: 4, latent: 8}, {name: began, width: 4, latent: 8}]"
    assert of_targets(others) == []
    given = "contrasts=[{factor: target, level: began, baseline: dcgan, at: {train_size: 80}}]"
    assert [(c.level, c.baseline) for c in of_targets(others, given)] == [("began", "dcgan")]


def test_the_plan_counts_contrasts_of_targets(make_design, store):
    # dcgan: size and length at each size; grouped: two arms at each size besides; and its norm at each size.
    assert spread.family(make_design(*FEW), store) == (1 + 2) + (2 * 2 + 1 + 2) + 2


def test_rows_have_the_label_that_the_study_has_now(make_design, store):
    quick = (*FEW, "replicates=1", "factors.epochs=[1]", "factors.train_size=[40]", "controls={nulls: 0, blind: false}")

    def publish(design):
        store.publish(design.hash, design.spec.resolved, design_rows(design), {})

    design = make_design(*quick)
    publish(design)
    for works in missing(design, store).values():
        if works[0].trial.cell.arm.label == "none" and works[0].trial.steps:
            list(Runner(design, store).run(works))
    assert set(read(store.root, "small", "trials")["target"]) == {"dcgan", "grouped"}
    publish(make_design(*quick, "factors.target.grouped.label=other"))
    table = read(store.root, "small", "trials")
    assert set(table["target"]) == {"dcgan", "other"}
    assert pd.Series(table["config"]).str.contains("label").sum() == 0, "a label is no part of what was trained"
