import pytest

from mia_core.errors import Refused
from study.design.design_rows import design_rows
from study.design.looks import declared
from study.spec.family import Contrast, contrasts_of
from study.store import Store
from study.store.exporting import export_public
from study.store.passes import Store as Passes

ARMS = "factors.defense=[{name: dp_sgd, sigma: 1.0, clip: 1.0, delta: 1.0e-5}, none, {name: dropout, rate: [0.7, 0.5]}]"


def publish(store: Passes, design):
    store.publish(design.hash, design.spec.resolved, design_rows(design), {})


def words(family):
    return [(c.factor, c.level, c.baseline, dict(c.at)) for c in family]


def test_a_study_that_says_nothing_declares_arms_sizes_and_the_length_of_training(make_design):
    family = contrasts_of(make_design(ARMS, "factors.train_size=[40, 60, 80]").spec.resolved)
    arms = ["dp_sgd sigma=1", "dropout 0.5", "dropout 0.7"]
    assert words(family) == [
        *(("defense", arm, "none", {"train_size": n, "epochs": 2}) for n in (40, 60, 80) for arm in arms),
        ("train_size", 80, 40, {"defense": "none", "epochs": 2}),
        *(("epochs", 2, 1, {"defense": "none", "train_size": n}) for n in (40, 60, 80)),
    ]
    assert family[0].ends == (
        {"defense": "dp_sgd sigma=1", "train_size": 40, "epochs": 2},
        {"defense": "none", "train_size": 40, "epochs": 2},
    )


def test_one_level_is_no_contrast(make_design):
    alone = make_design("factors.train_size=[40]", "factors.epochs=[2]", "factors.defense=[none]")
    assert contrasts_of(alone.spec.resolved) == ()


def test_a_study_may_declare_fewer_or_others(make_design):
    said = (
        "contrasts=[defense, {factor: train_size, at: {defense: [none, dropout 0.5], epochs: 1}}, "
        "{factor: epochs, level: 1, baseline: 2, at: {train_size: 80}}]"
    )
    design = make_design(said)
    assert words(contrasts_of(design.spec.resolved)) == [
        ("defense", "dp_sgd sigma=1", "none", {"train_size": 40, "epochs": 2}),
        ("defense", "dropout 0.5", "none", {"train_size": 40, "epochs": 2}),
        ("defense", "dp_sgd sigma=1", "none", {"train_size": 80, "epochs": 2}),
        ("defense", "dropout 0.5", "none", {"train_size": 80, "epochs": 2}),
        ("train_size", 80, 40, {"defense": "none", "epochs": 1}),
        ("train_size", 80, 40, {"defense": "dropout 0.5", "epochs": 1}),
        ("epochs", 1, 2, {"defense": "none", "train_size": 80}),
    ]
    ids = {trial.trial_id for trial in design.every}
    assert ids == {trial.trial_id for trial in make_design().every}, "what is declared changes no trial"
    assert "contrasts" not in make_design().spec.resolved


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ("[defence]", r"contrasts\[0\].factor: unknown factor 'defence'; did you mean 'defense'"),
        ("[{factor: train_size, level: 50}]", r"contrasts\[0\].level: unknown level 50; .*40.*80"),
        ("[defense, {factor: epochs, at: {defense: dropout}}]", r"contrasts\[1\].at.defense: unknown level 'dropout'"),
        ("[{factor: epochs, at: {steps: 1}}]", r"contrasts\[0\].at: unknown factor 'steps'"),
        ("[{factor: train_size, level: 40}]", r"contrasts\[0\]: .*a contrast needs two"),
        ("[{levels: 3}]", r"contrasts\[0\].(factor|levels): "),
        ("[3]", r"contrasts\[0\]: expected keys and values"),
    ],
)
def test_what_the_factors_do_not_have_is_refused(make_design, items, message):
    with pytest.raises(Refused, match=message):
        make_design(f"contrasts={items}")


def test_the_family_is_that_of_the_spec_sealed_first_and_looks_are_sets_of_trials(make_design, store, tmp_path):
    first = make_design("replicates=1")
    publish(store, first)
    assert declared(store).looks == 1
    publish(store, make_design("replicates=1", "attacks=[white_box]"))
    assert declared(store).looks == 1, "another attack sees no more trials"
    publish(store, make_design("replicates=2", "contrasts=[train_size]"))
    found = declared(store)
    assert (found.hash, found.looks) == (first.hash, 2)
    assert found.family == contrasts_of(first.spec.resolved), "declared after a look is not declared"
    publish(store, first)
    assert declared(store) == found, "an earlier spec again is no new look"
    publish(store, make_design("replicates=2", "factors.epochs=[1, 2, 3]"))
    assert declared(store).looks == 3
    export_public(store, tmp_path / "public")
    assert declared(Store(tmp_path, "public")) == declared(store)


def test_contrasts_that_are_declared_first_count(make_design, store):
    publish(store, make_design("contrasts=[train_size]"))
    publish(store, make_design("replicates=3"))
    assert words(declared(store).family) == [("train_size", 80, 40, {"defense": "none", "epochs": 2})]
    assert isinstance(declared(store).family[0], Contrast)
