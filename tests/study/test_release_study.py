"""A release as a study: one trial that trains nothing, its controls, what its store holds, and what is done again."""

import json
import shutil
import stat

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.torch import save_file

from mia_core.access import CAPABILITIES
from mia_core.attacks import ATTACKS, attacks_on
from mia_core.data import load_pool
from mia_core.errors import Refused
from mia_core.streams import Streams
from mia_core.targets import TARGETS
from study.design.study_design import Design
from study.design.work import missing
from study.plan.memory import Memory
from study.run import flow
from study.spec import release_study
from study.spec.study_file import parse
from study.store import Store, read
from study.store.exporting import export_public
from study.verdicts import controls
from tests.commands import run_here
from tests.study.given_release import (
    MEMBERS,
    OTHERS,
    REFERENCE,
    SAMPLES,
    SIZE,
    copied,
    document,
    made_once,
    make_folders,
    run,
)


@pytest.fixture(scope="module")
def made():
    return made_once()


@pytest.fixture(scope="module")
def tables(made):
    folder, _ = made
    return {name: read(str(folder / "results"), "given", name) for name in ("trials", "attacks", "scores", "quality")}


def design_of(folder, **sections):
    spec = parse(document(folder, **sections))
    return Design(spec, load_pool(spec.data))


def given_weights(folder, timesteps):
    """A release of weights of a diffusion model with so many timesteps."""
    target = {"name": "ddpm", "width": 4, "multipliers": [1, 1], "timesteps": timesteps, "sampling_steps": 3}
    built = TARGETS.choose(target).build((3, SIZE, SIZE))
    built.initialize(Streams("x"))
    average = {name: value.contiguous() for name, value in built.state_dict().items() if name.startswith("ema.")}
    save_file(average, folder / "w.safetensors")
    return {"name": "weights", "root": str(folder / "w.safetensors"), "target": target}


AT_TIMES = ("diffusion_loss", "pfami", "pia", "pian", "rediffuse", "secmi", "sima")


def settings_at_times(design):
    return {item.label: item.arguments for item in design.trials[0].attacks if item.label in AT_TIMES}


def test_a_diffusion_model_is_tried_at_the_same_parts_of_its_own_timesteps(tmp_path):
    copied(tmp_path)
    designs = {T: design_of(tmp_path, release=given_weights(tmp_path, T), attacks=None) for T in (1000, 40, 250)}
    found = {T: settings_at_times(design) for T, design in designs.items()}
    assert found[1000] == {name: ATTACKS.choose(name).arguments() for name in AT_TIMES}
    times = {T: [tuple(of[name].get("times", [of[name].get("time")])) for name in AT_TIMES] for T, of in found.items()}
    assert times[40] == [(4,), tuple(range(0, 20, 2)), (8,), (8,), (8,), (4,), (4,)]
    assert times[250][5:] == [(24,), (25,)]
    assert [found[T]["secmi"]["interval"] for T in (1000, 40, 250)] == [10, 1, 2]
    for T, design in designs.items():
        assert all(item.skipped is None for item in design.trials[0].attacks if item.label in AT_TIMES)
        said = f"attacks at times of 1,000 timesteps look at the same parts of {T:,}"
        assert (said in design.released.notes) == (T != 1000)


def test_a_time_that_a_study_file_asks_for_is_kept_and_skipped_with_the_one_that_would_do(tmp_path):
    copied(tmp_path)
    attacks = [{"name": "sima", "time": 30}, {"name": "sima", "time": 100, "label": "late"}]
    design = design_of(tmp_path, release=given_weights(tmp_path, 40), attacks=attacks)
    early, late = design.trials[0].attacks
    assert early.arguments["time"] == 30 and early.skipped is None
    assert late.skipped.endswith("and 100 is none; set an earlier one (time: 4 is the same part of them as of 1,000)")


@pytest.mark.parametrize("attack", ["local_gan", "discriminative_samples10"])
def test_a_surrogate_that_there_is_not_for_a_releases_images_is_said(tmp_path, attack):
    copied(tmp_path)
    design = design_of(tmp_path, data={"cache": str(tmp_path / "cache"), "size": 9}, attacks=None)
    (found,) = [item for item in design.trials[0].attacks if item.label.startswith(attack)]
    assert "there is no such surrogate: dcgan cannot halve 9 pixels" in found.skipped
    assert Memory.of(design).worker_bytes > 0  # what is skipped takes none, and is built by no plan


def test_there_is_one_trial_of_the_release_with_what_is_known_of_it_and_no_path(made, tables):
    folder, _ = made
    (row,) = tables["trials"][tables["trials"]["role"] == "release"].to_dict("records")
    assert (row["members"], row["steps"], row["target"], row["split"]) == (MEMBERS, 0, "samples", "given")
    config = json.loads(row["config"])
    assert config["release"]["count"] == SAMPLES and config["release"]["offers"] == ["samples"]
    assert "attacks by 400 samples see all 150: no more are given" in config["release"]["notes"]
    given = config["given"]
    assert (given["members"], given["non_members"], given["reference"]) == (MEMBERS, OTHERS - 2, REFERENCE)
    assert given["left_out"] == {"non_members that equal members": 2} and given["holdout"] == "random"
    assert given["persons_members"] == MEMBERS // 2
    judged = tables["scores"].drop_duplicates("query").set_index("query")
    assert given["judged_members"] + given["judged_non_members"] == len(judged) and judged["judged"].all()
    told = json.dumps([config["release"], given])
    assert str(folder) not in told and "members000" not in told


def test_attacks_by_samples_have_the_known_auc_and_what_cannot_be_tried_says_why(made, tables):
    _, replayed = made
    rows = tables["attacks"].merge(tables["trials"][["trial_id", "role"]])
    rows = rows[rows["role"] == "release"].set_index("attack")
    assert list(rows.index) == [
        "euclidean_generated50",
        "euclidean_generated150",
        "domias",
        "discriminative_samples10_steps3",
        "latent",
    ]
    assert rows.loc["latent", "skipped"] == "samples does not offer latent" and rows["auc"].notna().sum() == 4
    all_of_them = rows.loc["euclidean_generated150"]
    truth = 1 - (1 - 1 / MEMBERS) ** replayed / 2
    error = (all_of_them["auc_high"] - all_of_them["auc_low"]) / (2 * 1.96)
    assert abs(all_of_them["auc"] - truth) < 2 * error
    assert all_of_them["released"] == SAMPLES and all_of_them["auc"] > rows.loc["euclidean_generated50", "auc"]


def test_samples_that_equal_members_are_all_counted_and_named_for_the_owner_alone(made, tables):
    folder, replayed = made
    quality = tables["quality"].set_index("measure")
    assert round(quality.loc["exact_copies", "value"] * SAMPLES) == replayed
    assert quality.loc["copies", "value"] >= quality.loc["exact_copies", "value"]
    store = Store(str(folder / "results"), "given")
    trial_id = tables["quality"]["trial_id"].iloc[0]
    name, data = store.sealed_file(f"copies/{trial_id}", trial_id)
    pairs = json.loads(data)["exact"]
    assert len(pairs) == replayed
    for pair in pairs[:5]:
        sample = Image.open(folder / "samples" / pair["sample_file"])
        member = Image.open(folder / "members" / pair["file"].removeprefix("members/"))
        assert np.array_equal(np.asarray(sample), np.asarray(member))
    names, data = store.sealed_file(f"records/{trial_id}", trial_id)
    private = json.loads(data)
    assert private["records"][0] == "members/members000.png" and private["persons"][0] == "p0"
    assert {(item["file"], item["equals"]) for item in private["left_out"]} == {
        ("non_members/others000.png", "members/members000.png"),
        ("non_members/others001.png", "members/members001.png"),
    }
    for file in (name, names):
        assert stat.S_IMODE((folder / "results" / "given" / file).stat().st_mode) == 0o600


def test_every_control_of_a_release_is_there_and_none_has_failed(made):
    folder, _ = made
    table = controls.verdicts(folder / "results", "given")
    assert set(table["control"]) == {"blind", "blind_files", "member_only", "held_out", "copycat"}
    assert table["ok"].all() and table.set_index("control").loc["copycat", "standing"] == "shown"
    blind = table.set_index("control").loc[["blind", "blind_files"], "smallest_auc"]
    assert 0.5 < blind["blind"] < 1 and 0.5 <= blind["blind_files"] < 1
    assert set(table[table["control"] == "held_out"]["attack"]) == {"held_out_euclidean", "held_out_domias"}


@pytest.mark.long
def test_blind_on_files_finds_that_non_members_were_exported_otherwise(tmp_path):
    make_folders(tmp_path)
    for file in sorted((tmp_path / "others").iterdir()):
        Image.open(file).save(file.with_suffix(".jpg"), quality=95)
        file.unlink()
    code, _ = run(tmp_path, attacks=[{"name": "euclidean", "generated": 150}], split=_without_persons(tmp_path))
    table = controls.verdicts(tmp_path / "results", "given").set_index("control")
    assert code == 0 and table.loc["blind_files", "standing"] == "failed" and table.loc["blind_files", "auc"] > 0.95


def _without_persons(folder):
    split = document(folder)["split"]
    del split["groups"]
    return split


def test_the_same_again_does_nothing_and_a_further_attack_is_run_alone(tmp_path):
    copied(tmp_path)
    assert run(tmp_path)[0] == 0  # at another path: the same content, and so the same ids
    store = Store(str(tmp_path / "results"), "given")
    before = set(store.passes())
    more = [*document(tmp_path)["attacks"], {"name": "gen_lra", "generated": 100}]
    code, _ = run(tmp_path, attacks=more)
    added = [store.marker(name)["work"] for name in set(store.passes()) - before]
    assert code == 0 and sorted(len(work["attacks"]) for work in added) == [1, 1]  # of the release, and held out
    assert not any(work["train"] for work in added)


def test_ids_depend_on_samples_and_records_and_not_on_paths_or_what_is_stated(tmp_path):
    copied(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    one, other = (design_of(tmp_path / name) for name in ("one", "other"))
    assert [trial.trial_id for trial in one.every] == [trial.trial_id for trial in other.every]
    assert missing(other, Store(str(tmp_path / "one" / "results"), "given")) == {}
    release = {**document(tmp_path / "one")["release"], "epsilon": 3.0, "delta": 1e-5, "epsilon_unit": "person"}
    assert design_of(tmp_path / "one", release=release).trials[0].trial_id == one.trials[0].trial_id
    sample = tmp_path / "other" / "samples" / "samples000.png"
    Image.fromarray(255 - np.asarray(Image.open(sample))).save(sample)
    changed = design_of(tmp_path / "other")
    assert changed.trials[0].trial_id != one.trials[0].trial_id and changed.hash != other.hash
    blind = [trial.trial_id for trial in one.controls if trial.role == "blind"]
    assert blind == [trial.trial_id for trial in changed.controls if trial.role == "blind"]


def test_a_resolved_release_reads_back_as_the_same(made):
    folder, _ = made
    spec = parse(document(folder))
    assert parse(spec.resolved).resolved == spec.resolved
    assert Store(str(folder / "results"), "given").resolved() == json.loads(json.dumps(spec.resolved))


def test_by_default_all_is_tried_that_a_release_may_permit(made):
    folder, _ = made
    design = design_of(folder, attacks=None)
    wanted = {item.label: item for item in design.trials[0].attacks}
    assert "euclidean_generated150" in wanted and "gen_lra_generated100" in wanted
    skipped = {label: item.skipped for label, item in wanted.items() if item.skipped}
    assert skipped["generator"] == "samples does not offer generator, latent"
    of_capabilities = {name for capability in CAPABILITIES.keys() - {"samples"} for name in attacks_on(capability)}
    assert {entry.choice.name for entry in design.spec.attacks if entry.label in skipped} == of_capabilities
    split = document(folder)["split"]
    del split["reference"]
    lacking = design_of(folder, attacks=["domias", "euclidean"], split=split).trials[0].attacks
    assert {item.label: item.skipped for item in lacking} == {
        "domias": "no reference records were given",
        "euclidean": None,
    }


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"factors": {"train_size": [10]}}, "factors: unknown key"),
        ({"replicates": 5}, "replicates: a release is one trained model"),
        ({"split": {"name": "panel", "panel": 10}}, "the split of a release is given, and not panel"),
        ({"release": {"name": "sample", "root": "x"}}, "unknown release 'sample'; did you mean 'samples'"),
        ({"release": {"name": "callable", "function": "os:getcwd"}}, "--allow-code permits that"),
        ({"data": {"members": "x"}}, r"split\.members: is in data too"),
        ({"audit": {"canaries": ["noise"]}}, "nothing is trained"),
    ],
)
def test_what_does_not_fit_a_release_is_refused(tmp_path, sections, words):
    with pytest.raises(Refused, match=words):
        parse(document(tmp_path, **sections))


def test_a_study_that_trains_cannot_have_the_split_of_a_release():
    from tests.small import small_spec

    spec = small_spec("split={name: given}")
    with pytest.raises(Refused, match="given needs members and non_members"):
        Design(spec, load_pool(spec.data))


def test_a_plan_says_what_is_given_and_what_is_not_tried(made):
    folder, _ = made
    (folder / "plan.yaml").write_text(yaml.safe_dump(document(folder)))
    said = run_here("sweep", folder, "plan.yaml", "--plan").stdout
    assert "release given: 150 samples (a folder of images); it offers samples" in said
    assert "skipped: latent: samples does not offer latent" in said
    assert "left out: 2 non_members that equal members" in said and "power" not in said


def test_a_plan_says_once_why_attacks_are_skipped(made):
    folder, _ = made
    split = {key: value for key, value in document(folder)["split"].items() if key != "reference"}
    wanted = document(folder, split=split)
    del wanted["attacks"]
    (folder / "bare.yaml").write_text(yaml.safe_dump(wanted))
    lines = run_here("sweep", folder, "bare.yaml", "--plan").stdout.splitlines()
    assert [line for line in lines if "no reference records" in line] == [
        "skipped: domias, gen_lra, monte_carlo, nearest: no reference records were given"
    ]


def test_controls_of_a_release_ask_for_records_and_not_for_replicates_or_nulls(made):
    folder, _ = made
    table = controls.verdicts(folder / "results", "given")
    words = " ".join(table["verdict"])
    assert {"blind", "member_only"} <= set(table.loc[table["standing"] == "inconclusive", "control"])
    assert "more members and non-members would show more" in words and "more members would show more" in words
    assert "replicates" not in words and "nulls" not in words


def test_a_public_copy_names_no_folder_no_recipient_and_no_signer(made, tmp_path):
    folder, _ = made
    store = Store(str(folder / "results"), "given")
    export_public(store, tmp_path / "public")
    whole = b"".join(path.read_bytes() for path in (tmp_path / "public").rglob("*") if path.is_file())
    for word in (str(folder), "a colleague", "members000", "persons.csv"):
        assert word.encode() not in whole
    assert not (tmp_path / "public" / "records").exists() and not (tmp_path / "public" / "copies").exists()


def test_what_compares_cells_refuses_a_release_and_names_its_page(made):
    folder, _ = made
    for command in ("tables", "notebooks"):
        found = run_here(command, folder, "results/given")
        assert found.returncode == 2 and "mia-study report" in found.stderr
    assert "next:         mia-study report" in run_here("status", folder, "results/given").stdout


@pytest.mark.long
def test_an_attack_that_raises_leaves_the_others_and_is_run_again(tmp_path, monkeypatch):
    from mia_core.attacks.domias import Domias

    make_folders(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(Domias, "run", lambda *arguments: 1 / 0)
        code, store = run(tmp_path, attacks=document(tmp_path)["attacks"][:2])
    assert code == 1 and store.failed()
    labels = set(read(str(tmp_path / "results"), "given", "attacks")["attack"])
    assert "euclidean_generated50" in labels and "domias" not in labels
    code, store = run(tmp_path, attacks=document(tmp_path)["attacks"][:2])
    assert code == 0 and not store.failed()


def test_numbers_of_samples_beyond_those_given_are_capped_once():
    spec = parse(document_of_numbers([10, 100, 1000, 5000]))
    kept, beyond = release_study.within(spec.attacks, 400, frozenset({"samples"}))
    assert [entry.label for entry in kept] == [f"euclidean_generated{n}" for n in (10, 100, 400)]
    assert [entry.choice.config.generated for entry in kept] == [10, 100, 400] and beyond == (1000, 5000)
    assert release_study.within(spec.attacks, 5000, frozenset({"samples"})) == (spec.attacks, ())


def document_of_numbers(numbers):
    return {
        "study": "x",
        "release": {"name": "samples", "root": "samples"},
        "split": {"members": "a", "non_members": "b"},
        "attacks": [{"name": "euclidean", "generated": numbers}],
    }


def test_the_command_line_allows_no_code_of_a_study_file_unless_told(tmp_path):
    (tmp_path / "x.yaml").write_text(
        yaml.safe_dump({**document_of_numbers([10]), "release": {"name": "callable", "function": "nowhere:draw"}})
    )
    refused = run_here("sweep", tmp_path, "x.yaml", "--plan")
    assert refused.returncode == 2 and "--allow-code" in refused.stderr
    with pytest.raises(Refused, match="is no folder"):  # past that refusal
        flow.sweep(flow.Options(config=str(tmp_path / "x.yaml"), plan=True, allow_code=True))
