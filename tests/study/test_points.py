import pytest

from study.design.design_rows import design_rows
from study.design.points import points, problem

PRIVATE = (
    "factors.defense=[none, {name: dp_sgd, clip: 1.0, delta: 1e-5}]",
    "factors.defense.dp_sgd.sigma={low: 0.5, high: 4, scale: log}",
    "factors.train_size={low: 40, high: 60}",
    "factors.epochs=[1]",
)


@pytest.fixture
def published(make_design, store):
    def publish(*overrides):
        design = make_design(*overrides)
        store.publish(design.hash, design.spec.resolved, design_rows(design), {})
        return design, store.folder.parent

    return publish


def test_points_are_recovered_from_the_store_with_their_levels_and_trials(published):
    design, root = published(*PRIVATE, "design={name: random, points: 9}")
    found = points(root, "small")
    assert list(found) == ["point", "replicate", "trial_id", "defense", "defense.dp_sgd.sigma", "train_size"]
    assert list(found["point"]) == [*range(9), *range(9)]
    assert list(found["replicate"]) == [0] * 9 + [1] * 9
    trials = {trial.trial_id: trial for trial in design.trials}
    for row in found.to_dict("records"):
        trial = trials[row["trial_id"]]
        assert (trial.replicate, trial.cell.train_size) == (row["replicate"], row["train_size"])
        assert trial.cell.arm.defense == row["defense"]
        assert trial.cell.arm.columns().get("sigma", row["defense.dp_sgd.sigma"]) == row["defense.dp_sgd.sigma"]


def test_points_that_are_one_trial_are_still_all_there(published):
    design, root = published(*PRIVATE, "factors.train_size=[40]", "design={name: random, points: 16}")
    found = points(root, "small")
    assert len(found) == 2 * 16
    assert found["trial_id"].nunique() == len(design.trials) < len(found)


def test_arms_of_one_defense_and_targets_are_told_in_words(published):
    _, root = published(
        "factors.defense=[none, {name: dropout, rate: [0.2, 0.5]}]",
        "target=~",
        "factors.target=[{name: dcgan, width: 4}, {name: vae_gan, width: 4}]",
        "factors.epochs=[1]",
        "design={name: random, points: 20}",
    )
    found = points(root, "small")
    assert set(found["defense"]) == {"none", "dropout 0.2", "dropout 0.5"}
    assert set(found["target"]) == {"dcgan", "vae_gan"}


def test_a_factorial_has_no_points_and_poses_no_problem(published):
    design, root = published()
    assert points(root, "small").empty
    with pytest.raises(ValueError, match="a factorial draws no points"):
        problem(design.spec.resolved)


def test_the_problem_is_the_unit_cube_of_the_varied_factors(published):
    design, _ = published(*PRIVATE, "factors.defense=[{name: dp_sgd, clip: 1, delta: 1e-5}]",
                          "design={name: sobol, points: 4}")  # fmt: skip
    names = ["defense.dp_sgd.sigma", "train_size"]
    assert problem(design.spec.resolved) == {"num_vars": 2, "names": names, "bounds": [[0, 1], [0, 1]]}
