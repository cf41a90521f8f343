import numpy as np
import pytest
from PIL import Image

from mia_core.data import SOURCES, load_pool

GRADES = {"10_left": 0, "10_right": 2, "13_left": 3, "13_right": 4, "2_left": 2, "2_right": 2, "7_left": 1}


def photograph(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((90, 60), Image.Resampling.NEAREST).save(path, quality=90)


def table(path, grades, extra=""):
    path.write_text(f"image,level{extra and ',Usage'}\n" + "".join(f"{e},{g}{extra}\n" for e, g in grades.items()))


@pytest.fixture
def root(tmp_path):
    """Kaggle's layout: train/10_left.jpeg, trainLabels.csv."""
    folder = tmp_path / "retinopathy"
    for seed, eye in enumerate(GRADES):
        photograph(folder / "train" / f"{eye}.jpeg", seed)
    table(folder / "trainLabels.csv", GRADES)
    return folder


def load(folder, **settings):
    return load_pool(SOURCES.choose({"name": "retinopathy", "root": str(folder), **settings}))


def test_eyes_of_a_patient_are_one_group_and_labels_are_grades(root):
    pool = load(root)
    assert pool.images.shape == (7, 3, 64, 64)
    assert pool.labels.tolist() == [0, 2, 3, 4, 2, 2, 1]
    assert pool.groups.tolist() == [0, 0, 1, 1, 2, 2, 3]
    assert len(np.unique(pool.units)) == 4


def test_chosen_grades_are_read_and_no_other_image_is_opened(root):
    for eye in ("10_left", "7_left"):
        (root / "train" / f"{eye}.jpeg").write_bytes(b"damaged")
    pool = load(root, grades=[2, 3, 4])
    assert pool.labels.tolist() == [2, 3, 4, 2, 2]
    assert pool.groups.tolist() == [0, 1, 1, 2, 2]
    with pytest.raises(ValueError, match=r"2 records .*train/10_left.jpeg: no image"):
        load(root)


def test_both_halves_are_read_with_their_own_tables(root):
    photograph(root / "test" / "1_left.jpeg", 20)
    with pytest.raises(ValueError, match=r"1 images or labels .* test/1_left.jpeg: not in trainLabels.csv"):
        load(root)
    table(root / "retinopathy_solution.csv", {"1_left": 4}, extra=",Public")
    pool = load(root, labels=["trainLabels.csv", "retinopathy_solution.csv"])
    assert pool.labels.tolist() == [0, 2, 3, 4, 4, 2, 2, 1]


def test_images_beside_the_table_are_read_too(root):
    for path in (root / "train").iterdir():
        path.rename(root / path.name)
    assert len(load(root)) == 7


def test_what_is_missing_misnamed_or_there_twice_is_listed(root):
    (root / "train" / "13_left.jpeg").unlink()
    photograph(root / "train" / "13_middle.jpeg", 1)
    photograph(root / "test" / "2_left.jpeg", 1)
    with pytest.raises(ValueError, match=r"1 images or labels .*: 13_left: graded, but not there"):
        load(root, on_unreadable="skip")  # what is unreadable, and what does not match, are two things
    pool = load(root, on_unreadable="skip", on_unmatched="skip")
    assert len(pool) == 6
    assert set(pool.notes) == {
        "left out: 13_left: graded, but not there",
        "left out: train/13_middle.jpeg: not named like 10_left.jpeg",
        "left out: test/2_left.jpeg: the same eye as train/2_left.jpeg",
    }
    with pytest.raises(ValueError, match="2 records"):
        load(root)


def test_eyes_and_patients_that_differ_by_spelling_alone_are_refused_with_what_may_be_meant(root):
    (root / "train" / "7_left.jpeg").rename(root / "train" / "07_left.jpeg")
    with pytest.raises(ValueError, match=r"7_left: graded, but not there; is train/07_left.jpeg meant"):
        load(root)
    table(root / "trainLabels.csv", {**GRADES, "07_left": 1, "010_left": 1})
    photograph(root / "train" / "010_left.jpeg", 3)
    with pytest.raises(ValueError, match="the patients 010 and 10 differ by spelling alone"):
        load(root, on_unreadable="skip")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,level\n10_left,5\n", "row 2: level '5' is not 0 to 4"),
        ("image,level\n10_left,01\n", "row 2: level '01' is not 0 to 4"),
        ("image,level\n10_left,1\n10_left,2\n", "row 3: 10_left has two grades"),
        ("image,grade\n10_left,1\n", "no column 'level'"),
        ("image,level\n10_left\n", "row 2 has no level"),
    ],
)
def test_a_wrong_table_is_refused_with_its_row(root, text, message):
    (root / "trainLabels.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        load(root)


def test_a_missing_data_set_names_the_page_that_has_it(tmp_path):
    with pytest.raises(
        ValueError, match=r"trainLabels.csv is missing; .*https://www.kaggle.com/c/diabetic-retinopathy"
    ):
        load(tmp_path)


@pytest.mark.parametrize("grades", [[], [5], [-1], ["2"]])
def test_grades_that_do_not_exist_are_refused(root, grades):
    with pytest.raises(ValueError, match="grades"):
        load(root, grades=grades)
