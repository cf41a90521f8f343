from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from analysis import plots, tables
from analysis.stats.summary import effects_of
from analysis.study_data import ARM, VARIANT, StudyData, load
from study.store.reading import last_levels
from tests.analysis.synthetic import table_of_scores, write_store
from tests.commands import mia_study, run_here


@pytest.fixture
def made(tmp_path):
    """Two targets, two arms, one of which does not fit the second target; AUC known up to a common replicate effect."""
    truth = {"white_box": 0.8, "local_gan_steps5": 0.2, "local_gan_steps50": 0.4, "random": 0.0}
    rows = [
        {
            "trial_id": f"{target}{arm}{n}{epochs}{replicate}",
            "attack": attack,
            "attack_steps": float(attack.split("steps")[1]) if "steps" in attack else np.nan,
            VARIANT: target,
            ARM: arm,
            "defense": arm.split()[0],
            "strength": float(arm != "none"),
            "train_size": n,
            "epochs": epochs,
            "replicate": replicate,
            "queries": 200,
            "baseline_top_n": 0.5,
            "accuracy_top_10pct": 0.1 + level / 10,
            "auc": expit(level * (1 if arm == "none" else 0.5) * epochs / 20 * 100 / n + 0.1 * replicate),
            "kid_domain_unseen": 0.5 + 0.01 * replicate,
            "epsilon": np.nan,
            "delta": np.nan,
        }
        for target in ("dcgan", "began")
        for arm in ("none", "dp_sgd sigma=1")
        if (target, arm) != ("began", "dp_sgd sigma=1")
        for n in (100, 200)
        for epochs in (10, 20)
        for replicate in range(5)
        for attack, level in truth.items()
    ]
    wide = pd.DataFrame(rows)
    wide["attack_id"] = wide["attack"]
    return StudyData("made", tmp_path, wide, {}, table_of_scores(wide, np.random.default_rng(1)))


def test_the_last_level_of_each_attacks_steps_stands_for_it(made):
    assert last_levels(made.wide) == ["white_box", "local_gan_steps50", "random"]


@pytest.mark.parametrize("missing", ["none", pytest.param("dp_sgd", marks=pytest.mark.long)])
def test_a_study_that_has_nothing_of_an_arm_at_the_last_level_yet_has_its_other_tables(tmp_path, missing):
    """As beside a sweep that began with the private arm, which takes longest."""
    arms = "factors.defense=[none, {name: dp_sgd, sigma: 1.0, clip: 1.0, delta: 1e-5}]"
    write_store(
        tmp_path,
        lambda trial: 1.0,
        done=lambda trial: trial.epochs == 1 or trial.cell.arm.defense != missing,
        overrides=("replicates=2", "factors.train_size=[40]", arms),
    )
    done = run_here("tables", tmp_path, "small")
    assert done.returncode == 0, done.stderr
    assert "### Where leakage is shown after 2 epochs" in done.stdout
    assert ("### Attacks after 2 epochs, arm none" in done.stdout) == (missing != "none")


@pytest.mark.long
def test_every_cell_of_a_table_is_the_mean_of_its_replicates_only(made):
    found = dict(tables.tables(made, "white_box"))
    table = found["Attacks after 20 epochs, arm none: AUC and TPR at 1 % FPR"].set_index("attack")
    assert list(table.columns) == ["began, n = 100", "began, n = 200", "dcgan, n = 100", "dcgan, n = 200"]
    assert float(table.loc["white_box", "dcgan, n = 100"].split()[0]) == pytest.approx(mean_of_five(0.8), abs=0.02)
    assert float(table.loc["local_gan_steps5", "began, n = 200"].split()[0]) == pytest.approx(
        mean_of_five(0.1), abs=0.02
    )


def mean_of_five(level):
    """Replicates are 0 to .4 apart in log odds. The control variate takes off a little more or less."""
    return np.mean(expit(level + 0.1 * np.arange(5)))


def test_effects_are_taken_inside_variant_arm_and_replicate(made):
    sizes = effects_of(made, "train_size", "white_box")
    assert len(sizes) == 3 * 2
    row = sizes[(sizes[VARIANT] == "dcgan") & (sizes[ARM] == "none") & (sizes["epochs"] == 20)].iloc[0]
    assert row["effect"] == pytest.approx(mean_of_five(0.4) - mean_of_five(0.8), abs=5e-4)
    assert set(effects_of(made, ARM, "white_box")[VARIANT]) == {"dcgan"}
    assert set(effects_of(made, VARIANT, "white_box")[VARIANT]) == {"began"}


@pytest.mark.slow
def test_an_attack_that_ran_at_the_last_epochs_only_has_tables_too(made):
    wide = made.wide[(made.wide["attack"] == "white_box") | (made.wide["epochs"] == 20)]
    found = dict(tables.tables(StudyData("made", made.folder, wide, {}, made.scores), "random"))
    assert found["What epochs change: AUC of random against the fewest"].empty
    assert len(found["What n changes: AUC of random against the smallest n"]) == 3


@pytest.mark.slow
def test_attacks_are_compared_inside_replicates(made):
    table = dict(tables.tables(made, "white_box"))[
        "What other attacks give, less white_box: AUC after the last epochs, arm none"
    ]
    row = table[(table["target"] == "dcgan") & (table["n"] == 100) & (table["attack"] == "random")].iloc[0]
    assert row["difference [95 %]"].startswith(f"{mean_of_five(0) - mean_of_five(0.8):+.3f} [-0.".replace("-", "−"))
    assert "local_gan_steps5" not in set(table["attack"])


def test_pictures_have_a_panel_for_every_variant_and_arm_that_was_trained_and_no_others(made):
    figure = plots.leakage_over_training(made, "white_box")
    assert [axis.get_title() for axis in figure.axes] == ["dcgan, none", "dcgan, dp_sgd sigma=1", "began, none"]
    assert all(axis.containers for axis in figure.axes)
    assert len(plots.leakage_against_quality(made, "white_box").axes) == 4
    assert len(plots.attacks_compared(made).axes) == 3


@pytest.mark.slow
def test_a_study_without_kid_shows_fid_and_one_without_quality_shows_none(made):
    assert made.quality == "kid_domain_unseen"
    with_fid = replace(made, wide=made.wide.rename(columns={"kid_domain_unseen": "fid_domain_members"}))
    assert with_fid.quality == "fid_domain_members"
    assert "fid_domain_members over epochs and n" in dict(tables.tables(with_fid, "white_box"))
    without = replace(made, wide=made.wide.drop(columns="kid_domain_unseen"))
    assert not any("domain" in title for title, _ in tables.tables(without, "white_box"))
    with pytest.raises(ValueError, match="no measure of quality"):
        plots.leakage_against_quality(without, "white_box")


def test_lines_of_a_picture_look_different():
    looks = [tuple(plots.drawing.look_of(number).values()) for number in range(28)]
    assert len(set(looks)) == len(looks)
    assert len({look[:2] for look in looks}) == len(looks)


@pytest.mark.slow
@pytest.mark.parametrize("epsilons", [(0.0, 0.0), (0.0, 20.0), (3.0, 3.0), (1e-3, 2e6)])
def test_leakage_against_epsilon_is_drawn_for_any_epsilon_at_any_delta(made, epsilons):
    private = made.wide[ARM] != "none"
    made.wide.loc[private, "epsilon"] = np.where(made.wide[private]["epochs"] == 10, *epsilons)
    made.wide.loc[private, "delta"] = np.where(made.wide[private]["train_size"] == 100, 1e-5, 1e-3)
    figure = plots.against_epsilon(made, "white_box")
    figure.canvas.draw()
    drawn = [line for axis in figure.axes for line in axis.lines if len(line.get_xdata()) == 1]
    assert drawn and all(float(x) > 0 for line in drawn for x in line.get_xdata())
    assert "epsilon per record at delta 1e-05, 0.001" in figure.get_supxlabel()
    plots.drawing.plt.close(figure)


def test_an_attack_that_fits_no_target_with_a_private_arm_has_no_picture_against_epsilon(made):
    # As white_box, in a study whose diffusion model has the private arms and whose GAN has none.
    made.wide.loc[made.wide[ARM] != "none", "epsilon"] = 3.0
    unfit = (made.wide["attack"] == "white_box") & made.wide["epsilon"].notna()
    less = replace(made, wide=made.wide[~unfit])
    assert made.private_under("white_box") and less.private and not less.private_under("white_box")
    with pytest.raises(ValueError, match="no arm with an epsilon under white_box"):
        plots.against_epsilon(less, "white_box")


@pytest.mark.slow
def test_arms_stand_in_the_order_of_the_study(made):
    table = dict(tables.tables(made, "white_box"))["Arms after 20 epochs: AUC by attack"]
    assert table[["target", "arm"]].to_numpy().tolist() == [
        ["dcgan", "none"],
        ["dcgan", "dp_sgd sigma=1"],
        ["began", "none"],
    ]


@pytest.mark.slow
def test_the_command_prints_a_real_studys_tables(swept, capsys):
    folder = swept[0] / "results" / "small"
    assert mia_study("tables")([str(folder)]) == 0
    text = capsys.readouterr().out
    titles = [line for line in text.splitlines() if line.startswith("### ")]
    assert len(titles) == 21
    assert "dp_sgd sigma=1" in text
    assert "nan" not in text
    widths = {line.count("|") for line in text.split("### ")[1].splitlines() if line.startswith("|")}
    assert len(widths) == 1
    assert mia_study("tables")([str(folder), "--attack", "whitebox"]) == 2
    assert "it has white_box" in capsys.readouterr().err
    assert set(load(folder).wide[ARM]) == {"none", "dropout 0.5", "dp_sgd sigma=1"}


@pytest.mark.slow
def test_the_new_tables_say_what_is_settled_what_is_comparable_and_what_keeps_to_a_limit(made):
    found = dict(tables.tables(made, "white_box"))
    table = found["Declared contrasts: AUC of white_box, Holm over all rows"]
    assert len(table) == 2 * 1 + 2 * (1 + 2)  # an arm for one target, at each n; n and epochs for both
    assert table["contrast"].iloc[0] == "dp_sgd sigma=1 against none (dcgan, n = 100, 20 epochs)"
    effects = found["Main effects (exploratory): AUC of white_box"].set_index(["factor", "level"])
    assert effects.loc[("epochs", 20), "cells"] == 2 * 3
    assert effects.loc[("arm", "dp_sgd sigma=1"), "cells"] == 4
    answers = found["What keeps to a limit"]
    assert answers["question"].nunique() == 2 and set(answers["n"]) == {100, 200}
