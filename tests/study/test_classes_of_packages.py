"""Attacks, targets, defenses and data sets of installed packages: found, refused, swept, read without their code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mia_core
from analysis.study_data import load
from mia_core.attacks import ATTACKS
from mia_core.defenses import labels
from mia_core.errors import Refused
from mia_core.offers import loading
from study.run import flow
from study.spec.study_file import parse, read
from study.store import Store
from study.store import read as table
from tests.commands import MIA_STUDY, mia_study
from tests.packaged import ATTACK, DATA, DEFENSE, TARGET, forget, install, install_tutorial

STUDY = """
study: packaged
data: {name: negatives}
split: {reference: 80, unseen: 40, panel: 40, extra_non_members: 40, known: 10}
target: linear_gan
training: {batch_size: 16}
factors:
  train_size: [40]
  epochs: [1]
  defense: [none, {name: half_input, share: 0.25}, {name: half_input, share: 0.25, floor: 1.0}]
replicates: 2
attacks:
  - euclidean
  - {name: blurred_distance, generated: [50, 100]}
controls: {nulls: 0}
quality: {samples: 40, extractor: {features: 8, width: 4, steps: 20}}
tracking: ~
"""
IMAGES = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)
DONE = "to run: 0 attacks, 0 quality measures"
MODULES = ("blurred_attacks", "halves", "linear", "negative_digits")


def install_all(folder):
    install_tutorial(folder)
    install(folder, "halves", files={"halves.py": DEFENSE}, defenses={"half_input": "halves:HalfInput"})
    install(folder, "linear", files={"linear.py": TARGET}, targets={"linear_gan": "linear:LinearGAN"})
    install(
        folder,
        "Negative.Digits",
        "2.1",
        {"negative_digits.py": DATA},
        data_sets={"negatives": "negative_digits:Negatives"},
    )


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder that packages are installed in."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    forget(*MODULES)
    yield folder
    forget(*MODULES)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A study of classes of four packages, in a folder; where they were, nothing is any more."""
    folder = tmp_path_factory.mktemp("packaged")
    with pytest.MonkeyPatch.context() as patch:
        (folder / "site").mkdir()
        patch.syspath_prepend(str(folder / "site"))
        install_all(folder / "site")
        (folder / "study.yaml").write_text(STUDY + f"results: {folder}/results\n")
        assert flow.sweep(flow.Options(config=str(folder / "study.yaml"), yes=True, in_process=True)) == 0
    forget(*MODULES)
    return folder / "results" / "packaged"


def rows(folder, name, **more):
    return table(folder.parent, folder.name, name, **more)


def test_rows_name_packages_with_their_versions(swept):
    wide = rows(swept, "wide")
    assert {"euclidean", "blurred_distance_generated50", "blurred_distance_generated100"} < set(wide["attack"])
    of_package = wide["attack"].str.startswith("blurred")
    assert set(wide.loc[of_package, "package"]) == {"blurred-attacks 0.1.0"}
    assert wide.loc[~of_package, "package"].isna().all()
    for row in wide.to_dict("records"):
        packages = json.loads(row["versions"])["packages"]
        defense = {"defense half_input": "halves 0.1.0"} if row["defense"] == "half_input" else {}
        target = {"target linear_gan": "linear 0.1.0"} if row["target"] == "linear_gan" else {}
        assert packages == {"data set negatives": "negative-digits 2.1", **target, **defense}
    assert wide["auc"].notna().all()


READERS = (
    "report {}", "tables {}", "figures {} {out}/figures", "status {}", "store check {}", "audit {}", "controls {}",
    "store export --public {} {out}/public", "report {out}/public", "status {out}/public",
)  # fmt: skip


@pytest.mark.long
def test_stores_are_read_where_the_packages_are_not_installed(swept, tmp_path, capsys):
    for line in READERS:
        words = [word.format(swept, out=tmp_path) for word in line.split()]
        assert mia_study(words[0])(words[1:]) in (0, 1), (line, capsys.readouterr().err)
        assert "refused" not in capsys.readouterr().err, line
    assert not set(MODULES) & set(sys.modules)
    page = (swept / "reports" / "report.html").read_text()
    assert "blurred_distance_generated100" in page and "half input" in page


def test_reading_imports_nothing_of_packages_that_are_installed(swept, site, tmp_path, capsys):
    install_all(site)
    for module in MODULES:
        (site / f"{module}.py").write_text("raise SystemExit('imported')")
    for line in READERS[:2]:
        assert mia_study(line.split()[0])([word.format(swept, out=tmp_path) for word in line.split()[1:]]) in (0, 1), (
            line
        )
        assert "refused" not in capsys.readouterr().err, line


def test_arms_have_the_same_words_with_and_without_the_package(swept, site):
    install_all(site)
    spec = read(swept.parent.parent / "study.yaml")
    assert load(swept).arms == labels(list(dict.fromkeys(cell.arm for cell in spec.cells)))


def test_the_same_command_has_nothing_to_do_and_a_raised_version_redoes_what_depends_on_it(swept, site, capsys):
    install_all(site)
    study = str(swept.parent.parent / "study.yaml")
    assert mia_study("sweep")([study, "--plan"]) == 0
    assert DONE in capsys.readouterr().out
    forget(*MODULES)
    (site / "blurred_attacks.py").write_text(ATTACK.replace('name = "', 'version = 2\n    name = "'))
    assert mia_study("sweep")([study, "--plan"]) == 0
    again = capsys.readouterr().out
    assert DONE not in again
    with loading():
        spec = parse({**json.loads(json.dumps(read(study).resolved))})
    assert [entry.choice.cls.version for entry in spec.attacks] == [1, 2, 2]


def test_another_version_of_the_package_changes_no_id_and_another_package_does(swept, site, capsys):
    install_all(site)
    study = str(swept.parent.parent / "study.yaml")
    (info,) = site.glob("blurred_attacks-*.dist-info")
    metadata = (info / "METADATA").read_text()
    (info / "METADATA").write_text(metadata.replace("0.1.0", "0.2.0"))
    assert mia_study("sweep")([study, "--plan"]) == 0
    assert DONE in capsys.readouterr().out
    forget(*MODULES)
    (info / "METADATA").write_text(metadata.replace("blurred-attacks", "other-attacks"))
    assert mia_study("sweep")([study, "--plan"]) == 0
    assert DONE not in capsys.readouterr().out


def test_a_sweep_says_which_name_is_unknown_where_a_package_is_missing(swept, capsys):
    assert mia_study("sweep")([str(swept.parent.parent / "study.yaml"), "--plan"]) == 2
    assert "unknown" in capsys.readouterr().err


def refusal(site, name="mine", module="mine", text=ATTACK, **points):
    install(site, name, files={f"{module}.py": text}, **points)
    with loading(), pytest.raises(Refused) as refused:
        ATTACKS.choose("blurred_distance", "attacks[0]")
    assert "\n" not in str(refused.value)
    return str(refused.value)


OFFER = {"attacks": {"blurred_distance": "mine:BlurredDistance"}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("raise SystemExit('a\\nb')", "SystemExit: a b"),
        ("1 / 0", "ZeroDivisionError"),
        ("", "AttributeError"),
        ("BlurredDistance = 3", "is no Attack"),
        ("class BlurredDistance: pass", "is no Attack"),
        (ATTACK.replace('name = "blurred_distance"', 'name = "other"'), "has the `name` 'other'"),
        (ATTACK.replace("def run", "def walk"), "lacks run"),
        (ATTACK.replace("    @settings\n", ""), "no settings class"),
        (ATTACK.replace('name = "', 'version = "2"\n    name = "'), "has the version '2'"),
        (ATTACK.replace('{"samples"}', '{"pixels"}'), "uses 'pixels'"),
        (ATTACK.replace('name = "', 'nested = "blur"\n    name = "'), "nested 'blur'"),
        (ATTACK.replace("class Blurred", "from mia_core.attacks import ATTACKS\n\n\n@ATTACKS.register\nclass Blurred"),
         "registers blurred_distance"),
    ],
)  # fmt: skip
def test_a_class_that_cannot_be_taken_is_one_line_that_names_the_package(site, text, words):
    forget("mine")
    line = refusal(site, text=text, **OFFER)
    assert words in line and "attacks[0]" in line and ("mine 0.1.0" in line or "registers" in line)
    assert "blurred_distance" not in ATTACKS.names()
    forget("mine")


def test_names_that_two_packages_offer_are_refused_and_ours_are_never_replaced(site, capsys):
    install(site, "mine", files={"mine.py": ATTACK}, attacks={"euclidean": "mine:BlurredDistance"})
    install(site, "his", files={"his.py": ATTACK}, attacks={"blurred_distance": "his:BlurredDistance"})
    offered = {"attacks": {"blurred_distance": "theirs:BlurredDistance"}}
    assert "offered twice, by " in (line := refusal(site, "theirs", "theirs", **offered))
    assert "his 0.1.0" in line and "theirs 0.1.0" in line
    with loading():
        assert ATTACKS.choose("euclidean").package is None
    assert mia_study("packages")([]) == 0
    listed = capsys.readouterr().out
    assert "attack euclidean: mine 0.1.0 (mine:BlurredDistance); not used" in listed
    assert "offered twice" in listed
    assert not {"mine", "his", "theirs"} & set(sys.modules)


def test_names_and_groups_that_there_are_not_are_refused_or_listed(site, capsys):
    install(site, "mine", files={"mine.py": ATTACK}, attacks={"Blurred-Distance": "mine:X"}, measures={"a": "mine:Y"})
    with loading(), pytest.raises(Refused, match="a name is made of"):
        ATTACKS.choose("Blurred-Distance")
    assert mia_study("packages")([]) == 0
    assert (
        "mia_study.measures: no such group; there is attacks, data_sets, defenses, targets" in capsys.readouterr().out
    )


def test_a_package_cannot_claim_a_guarantee(site):
    text = DEFENSE.replace("import Defense", "import DPSGD as Defense").replace('strength = "share"', "")
    install(site, "halves", files={"halves.py": text}, defenses={"half_input": "halves:HalfInput"})
    with pytest.raises(Refused, match="claims a guarantee"):
        mia_core.train("dcgan", IMAGES, epochs=1, defense="half_input")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("floor: float = 0.0", "epochs: float = 0.0", "a setting epochs, which is the name of a column"),
        ("floor: float = 0.0", 'floor: str = "a"', "are numbers, got 'a'"),
        ('strength = "share"', 'strength = "rate"', "the strength 'rate'"),
        ("    def inputs", "    control = True\n\n    def inputs", "has its own `control`"),
    ],
)
def test_defenses_that_a_store_could_not_be_read_without_are_refused(site, tmp_path, before, after, words):
    install_all(site)
    (site / "halves.py").write_text(DEFENSE.replace(before, after))
    text = STUDY.replace(", {name: half_input, share: 0.25, floor: 1.0}", "")
    (tmp_path / "study.yaml").write_text(text)
    with pytest.raises(Refused, match=words):
        read(tmp_path / "study.yaml")


def test_the_library_takes_classes_of_packages(site):
    install_all(site)
    model = mia_core.train("linear_gan", IMAGES, epochs=1, defense="half_input")
    assert mia_core.attack(model, IMAGES, "blurred_distance").shape == (40,)


def test_a_section_of_stores_in_a_study_file_says_nothing(site, tmp_path):
    install_all(site)
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "claims.yaml").write_text(STUDY + "packaged: {attack euclidean: {package: x}}\n")
    first, second = (read(tmp_path / name).resolved for name in ("study.yaml", "claims.yaml"))
    assert first == second and "attack euclidean" not in first["packaged"]


def test_names_in_a_store_that_say_something_odd_are_refused(swept):
    from study.design.trial_config import TrialConfig

    text = rows(swept, "trials")["config"].iloc[-1]
    values = json.loads(text)
    for name, facts in (
        ("half`input", {"package": "halves"}),
        ("half_input", {"package": "a b"}),
        ("half_input", {"package": "halves", "strength": "other"}),
        ("half_input", {}),
        ("half_input", []),
    ):
        arm = [{"name": name, "share": 0.5, "floor": 0.0}]
        config = TrialConfig({**values, "defense": arm, "packaged": {f"defense {name}": facts}})
        with pytest.raises(Refused):
            _ = config.arm.label


def test_a_worker_that_lacks_a_package_is_named():
    from study.run import nodes

    with pytest.raises(Refused, match="node n has the package blurred-attacks not installed, and this driver"):
        nodes._require({"the package blurred-attacks": "0.1.0"}, nodes.software(["blurred-attacks"]), "n")


@pytest.mark.long
def test_a_study_of_packages_runs_under_ray_as_a_user_types_it(tmp_path):
    (tmp_path / "site").mkdir()
    install_all(tmp_path / "site")
    (tmp_path / "study.yaml").write_text(STUDY)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'site'}:{os.environ.get('PYTHONPATH', Path.cwd())}"}
    command = [*MIA_STUDY, "sweep", "study.yaml", "--yes"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(Store(str(tmp_path / "results"), "packaged").done()) >= 6
