"""`mia-study init`: a study file for somebody's folder of images, that a plan accepts as it is."""

import re

import numpy as np
import pytest
from PIL import Image

from study.outcomes import COMPLETE, REFUSED
from study.spec import study_file
from tests.commands import mia_study

pytestmark = pytest.mark.long

init, sweep = mia_study("init"), mia_study("sweep")


def write_images(folder, count, side=(40, 36), mode="RGB", classes=("a", "b")):
    random = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
    shape = (*side, 3) if mode == "RGB" else side
    for number in range(count):
        Image.fromarray(random.integers(0, 255, shape, dtype=np.uint8)).save(
            folder / classes[number % len(classes)] / f"{number:04d}.png"
        )


@pytest.fixture
def here(tmp_path, monkeypatch, cache_of_test):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("count", [200, 333, 1500])
def test_a_folder_of_images_gets_a_study_that_a_plan_accepts(here, capsys, count):
    write_images(here / "Scans (2024)", count, side=(20, 20))
    assert init(["Scans (2024)"]) == COMPLETE
    written = here / "Scans (2024).yaml"
    assert capsys.readouterr().out.endswith("next: mia-study sweep 'Scans (2024).yaml' --plan\n")
    assert sweep([str(written), "--plan"]) == COMPLETE
    plan = capsys.readouterr().out
    assert "study scans_2024: image_folder" in plan and f"{count:,} records" in plan
    assert "5 blind" in plan and "audit: a cell by" in plan and "note: a coin swaps" not in plan
    spec = study_file.read(written)
    split = spec.split.config
    used = split.reference + split.unseen + split.panel + 2 * split.known + spec.train_sizes[-1] - split.panel // 2
    assert 0.6 * count < used <= count, "most of the images are used"
    assert spec.data.config.size == 16 and spec.train_sizes[0] * 3 < spec.train_sizes[1]
    text = written.read_text()
    assert len(re.findall("#", text)) > 15 and max(map(len, text.splitlines())) <= 140


def test_gray_images_get_one_channel_and_a_table_beside_them_is_named_with_its_columns(here):
    write_images(here / "x", 220, mode="L")
    (here / "x" / "people.csv").write_text("file,who\x07,\n")
    (here / "x" / "binary.csv").write_bytes(b"\xff\xfe\x00")
    assert init(["x", "out/mine.yaml"]) == COMPLETE
    text = (here / "out" / "mine.yaml").read_text()
    assert "channels: 1" in text and "size: 32" in text
    assert "# people.csv has the columns file, who?" in text
    study_file.read(here / "out" / "mine.yaml")


def test_copies_that_stay_together_leave_smaller_sizes(here):
    write_images(here / "x", 200)
    for number in range(100):
        for copy in "bcd":
            image = here / "x" / "ab"[number % 2] / f"{number:04d}.png"
            image.with_stem(image.stem + copy).write_bytes(image.read_bytes())
    assert init(["x"]) == COMPLETE
    assert sweep(["x.yaml", "--plan"]) == COMPLETE


def test_a_folder_without_labels_gets_a_study_that_says_why_it_measures_no_quality(here, capsys):
    write_images(here / "x", 210, classes=("",))
    assert init(["x"]) == COMPLETE
    assert "measures of quality need labels of two classes or more" in (here / "x.yaml").read_text()
    assert sweep(["x.yaml", "--plan"]) == COMPLETE


@pytest.mark.parametrize("odd", ['a"b', "a\\b", "a: b #c", "ä ö", "{braces}", "- x", "%s"])
def test_a_folder_of_any_name_is_named_as_it_is(here, odd):
    write_images(here / odd, 200, side=(8, 8))
    assert init([odd, "mine.yaml"]) == COMPLETE
    assert study_file.read("mine.yaml").data.config.root == odd


def test_what_cannot_be_started_is_refused_in_one_line_and_nothing_is_written(here, capsys):
    write_images(here / "few", 5)
    write_images(here / "broken", 200, side=(8, 8))
    (here / "broken" / "a" / "x.png").write_text("no image")
    (here / "there.yaml").write_text("study: mine")
    before = sorted(here.rglob("*"))
    for words, message in {
        ("absent",): "absent: is no folder; name the one that your images are in",
        ("few",): "few: has 5 usable images, and a study needs 200 or more",
        ("broken",): "init takes --skip-unreadable",
        ("broken", "there.yaml"): "there.yaml: is there already",
    }.items():
        assert init(words) == REFUSED
        told = capsys.readouterr().err
        assert message in told and told.count("\n") == 1
    assert sorted(here.rglob("*")) == before
    assert (here / "there.yaml").read_text() == "study: mine"
    assert init(["broken", "--skip-unreadable"]) == COMPLETE
    said = capsys.readouterr().out
    words = "1 files or labels are left out: a/x.png: no image of a known format"
    assert f"data: {words}; mia-study data broken.yaml names them" in said


def write_deep(folder, count):
    random = np.random.default_rng(1)
    (folder / "a").mkdir(parents=True)
    for number in range(count):
        values = random.integers(20, 3000, (20, 20)).astype(np.uint16)
        values[0, :2] = 20, 3000
        Image.fromarray(values).save(folder / "a" / f"{number:04d}.png")


def test_16_bit_images_are_refused_with_the_setting_that_init_takes_and_with_it_a_plan_accepts_the_file(here, capsys):
    write_deep(here / "x", 205)
    assert init(["x"]) == REFUSED
    told = capsys.readouterr().err
    assert "205 like a/0000.png: has more than 8 bits (values 20 to 3000)" in told and told.count("\n") == 1
    setting = "data.window=[20,3000]"
    assert f"init takes --set '{setting}' (the least" in told
    assert init(["x", "--set", setting]) == COMPLETE
    assert "  window: [20, 3000]\n" in (here / "x.yaml").read_text()
    assert sweep(["x.yaml", "--plan"]) == COMPLETE
    assert "the window holds all values" in capsys.readouterr().out


def test_files_of_several_pages_end_in_a_file_too(here, capsys):
    (here / "x").mkdir()
    random = np.random.default_rng(2)
    for number in range(70):
        first, *others = [Image.fromarray(random.integers(0, 255, (9, 9), dtype=np.uint8)) for _ in range(3)]
        first.save(here / "x" / f"{number}.tif", save_all=True, append_images=others)
    assert init(["x"]) == REFUSED
    assert "--set data.pages=first" in capsys.readouterr().err
    assert init(["x", "--set", "data.pages=all"]) == COMPLETE
    assert sweep(["x.yaml", "--plan"]) == COMPLETE


@pytest.mark.parametrize("images", [2, 3, 5])
def test_persons_that_are_named_get_sizes_that_fit_them(here, capsys, images):
    write_images(here / "x", 240)
    rows = [f"{path.relative_to(here / 'x')};{number // images}" for number, path in enumerate(here.glob("x/*/*.png"))]
    (here / "x" / "who.csv").write_text("\ufefffile;patient\n" + "\n".join(rows), encoding="utf-8")
    assert init(["x"]) == COMPLETE
    text = (here / "x.yaml").read_text()
    assert "# who.csv has the columns file, patient\n" in text  # whatever separates them
    assert "--set data.labels=TABLE.csv --set data.group_column=COLUMN" in text
    named = {"labels": "who.csv", "label_column": "null", "group_column": "patient"}
    words = [word for key, value in named.items() for word in ("--set", f"data.{key}={value}")]
    assert init(["x", "y.yaml", *words]) == COMPLETE
    text = (here / "y.yaml").read_text()
    assert '  group_column: "patient"\n' in text and "fit no persons yet" not in text
    assert sweep(["y.yaml", "--plan"]) == COMPLETE
    assert f"persons: {240 // images}, of {images} images" in capsys.readouterr().out
    assert study_file.read("y.yaml").train_sizes[-1] >= 0.3 * 240, "most of the images are used"


def test_persons_named_later_are_refused_in_the_words_of_the_file(here, capsys):
    write_images(here / "x", 240, classes=tuple("abcdefghij"))
    assert init(["x"]) == COMPLETE
    assert sweep(["x.yaml", "--plan", "--set", "data.group_folders=true"]) == REFUSED
    told = capsys.readouterr().err
    key = re.search(r"(\w+)\.(\w+): whole groups", told)
    assert key and f"\n  {key[2]}: " in (here / "x.yaml").read_text(), told


def test_init_takes_settings_of_data_alone(here, capsys):
    write_images(here / "x", 200, side=(8, 8))
    assert init(["x", "--set", "replicates=2"]) == REFUSED
    assert "init takes settings of data" in capsys.readouterr().err
