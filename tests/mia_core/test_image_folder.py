import numpy as np
import pytest
from PIL import Image

from mia_core.data import SOURCES, image_folder, load_pool

FILES = ("b/1.png", "b/deep/2.png", "a/3.bmp", "a/4.png", "c/5.png")


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "pictures"
    for number, file in enumerate(FILES):
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((9, 9, 3), 10 * number, dtype=np.uint8)).save(path)
    return folder


def load(folder, **settings):
    return load_pool(SOURCES.choose({"name": "image_folder", "root": str(folder), "size": 9, **settings}))


def values(pool):
    return (pool.images[:, 0, 0, 0] // 10).tolist()


def test_sub_folders_are_labels_in_their_order_and_every_record_its_own_group(root):
    pool = load(root)
    assert values(pool) == [2, 3, 0, 1, 4]
    assert pool.labels.tolist() == [0, 0, 1, 1, 2]
    assert len(set(pool.groups)) == 5


def test_sub_folders_can_be_groups(root):
    assert load(root, group_folders=True).groups.tolist() == [0, 0, 1, 1, 2]


def test_a_flat_folder_has_one_label(root):
    pool = load(root / "a")
    assert pool.labels.tolist() == [0, 0]


def test_labels_and_groups_come_from_named_columns(root):
    rows = ["path,finding,patient,age", *(f"{file},{10 - n},{'xy'[n % 2]},50" for n, file in enumerate(FILES))]
    (root / "table.csv").write_text("\n".join(rows))
    columns = {"labels": "table.csv", "file_column": "path", "label_column": "finding"}
    pool = load(root, **columns, group_column="patient")
    assert values(pool) == [2, 3, 0, 1, 4]
    assert pool.labels.tolist() == [2, 1, 4, 3, 0]  # 6 < 7 < 8 < 9 < 10, as numbers
    assert pool.groups.tolist() == [0, 1, 0, 1, 0]
    assert load(root, **columns, group_folders=True).groups.tolist() == [0, 0, 1, 1, 2]
    assert len(set(load(root, **columns).groups)) == 5


def test_files_missing_on_either_side_of_the_table_are_listed(root):
    (root / "table.csv").write_text("file,label\nb/1.png,x\na/3.bmp,y\na/4.png,y\nc/5.png,y\nlost.png,x\n../up.png,x\n")
    message = (
        r"3 images or labels .*: 2 like lost.png: in table.csv, but not there; b/deep/2.png: not in table.csv; mend "
        r"them, or leave them out with data.on_unmatched=skip"
    )
    for unreadable in ("refuse", "skip"):  # which leaves out images that cannot be read, and no mistake of a table
        with pytest.raises(ValueError, match=message):
            load(root, labels="table.csv", on_unreadable=unreadable)
    assert load(root, labels="table.csv", on_unmatched="skip").labels.tolist() == [1, 1, 0, 1]


def test_an_image_outside_the_sub_folders_is_listed(root):
    Image.new("RGB", (9, 9)).save(root / "stray.png")
    with pytest.raises(ValueError, match=r"1 images or labels .*: stray.png: in no sub-folder"):
        load(root)
    assert load(root, on_unmatched="skip").notes == ("left out: stray.png: in no sub-folder",)


def test_numbers_are_in_numerical_order_and_words_that_are_equal_as_numbers_in_their_own(root):
    assert image_folder._numbered(["10", "1", "9", "01"])[0].tolist() == [3, 1, 2, 0]


def test_other_files_are_noted(root):
    (root / "b" / "README.txt").touch()
    (root / ".hidden.png").touch()
    assert load(root).notes == (f"1 files of {root} are no images, e.g. b/README.txt",)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"labels": "table.csv"}, "table.csv cannot be read: No such file"),
        ({"group_column": "patient"}, "data.group_column: needs data.labels"),
        (
            {"labels": "x.csv", "group_column": "a", "group_folders": True},
            "data.group_column: needs .*group_folders=false",
        ),
        ({"channels": 4}, "channels: .*1 or 3"),
        ({"fraction": 0.0}, "fraction: .*greater than 0"),
        ({"fraction": 1.5}, "fraction: .*less than or equal to 1"),
        ({"size": 4}, "size: .*greater than or equal to 8"),
        ({"on_unreadable": "ignore"}, "on_unreadable: .*'refuse' or 'skip'"),
        ({"lables": "x.csv"}, "did you mean 'labels'"),
    ],
)
def test_wrong_settings_are_refused(root, settings, message):
    with pytest.raises(ValueError, match=message):
        load(root, **settings)


def test_a_file_with_two_labels_is_refused(root):
    (root / "table.csv").write_text("file,label\nb/1.png,x\nb/1.png,y\n")
    with pytest.raises(ValueError, match=r"table.csv has b/1.png twice, with different values"):
        load(root, labels="table.csv")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"data.root: .*nowhere is not a folder"):
        load(tmp_path / "nowhere")
