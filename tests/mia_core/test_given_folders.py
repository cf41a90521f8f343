"""Folders that a user names as members, non-members and reference: one pool, its parts, what is left out, its split."""

import shutil

import numpy as np
import pytest
from PIL import Image

from mia_core.data import SOURCES, SPLITS, load_pool
from mia_core.data.compression import reencoded
from mia_core.data.file_facts import FACTS, file_facts, standardized
from mia_core.data.given_folders import halving
from mia_core.data.given_records import MEMBER, NON_MEMBER, REFERENCE
from mia_core.errors import Refused
from mia_core.targets.convolutions import halvings


def write(folder, count, seed, suffix=".png", size=(12, 12), **settings):
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for number in range(count):
        image = Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8))
        image.save(folder / f"{folder.name}{number:02}{suffix}", **settings)


@pytest.fixture
def folders(tmp_path):
    write(tmp_path / "in", 12, 0)
    write(tmp_path / "out", 10, 1)
    write(tmp_path / "ref", 8, 2)
    return tmp_path


def pool_of(folder, **settings):
    given = {"members": "in", "non_members": "out", "reference": "ref"} | settings
    paths = {key: str(folder / value) for key, value in given.items() if key in ("members", "non_members", "reference")}
    if "groups" in given:
        paths["groups"] = str(folder / given.pop("groups"))
    rest = {key: value for key, value in given.items() if key not in paths}
    return load_pool(SOURCES.choose({"name": "given_folders", "cache": str(folder / "cache"), **rest, **paths}))


def test_each_record_has_its_part_and_the_members_size(folders):
    pool = pool_of(folders)
    assert pool.images.shape == (30, 3, 12, 12)
    assert pool.given.part.tolist() == [MEMBER] * 12 + [NON_MEMBER] * 10 + [REFERENCE] * 8
    assert pool.files[0] == "members/in00.png" and pool.files[-1] == "reference/ref07.png"
    assert len(np.unique(pool.groups)) == 30
    gray = folders / "gray"
    gray.mkdir()
    for number in range(3):
        Image.fromarray(np.full((300, 200), 9 * number, np.uint8)).save(gray / f"{number}.png")
    assert pool_of(folders, members="gray").image_shape == (1, 128, 128)


def test_the_size_that_is_chosen_is_one_that_networks_of_attacks_can_halve():
    assert [halving(size) for size in (8, 9, 12, 28, 42, 63, 64, 100, 128)] == [8, 8, 12, 28, 40, 56, 64, 96, 128]
    for size in range(8, 129):
        halvings("dcgan", (1, halving(size), halving(size)))
        assert 0.8 * size <= halving(size) <= size


def test_the_digest_depends_on_parts_and_not_on_paths(folders, tmp_path):
    pool = pool_of(folders)
    moved = tmp_path / "moved"
    for name in ("in", "out", "ref"):
        shutil.copytree(folders / name, moved / name)
    assert pool_of(moved).digest == pool.digest
    assert pool_of(folders, members="out", non_members="in").digest != pool.digest


def test_what_equals_a_record_of_an_earlier_part_is_left_out_and_named_in_private_only(folders):
    shutil.copy(folders / "in" / "in03.png", folders / "out" / "copy.png")
    shutil.copy(folders / "in" / "in04.png", folders / "ref" / "copy.png")
    shutil.copy(folders / "out" / "out02.png", folders / "ref" / "another.png")
    shutil.copy(folders / "in" / "in05.png", folders / "in" / "twice.png")
    pool = pool_of(folders)
    assert pool.given.counts() == {"members": 13, "non_members": 10, "reference": 8}
    named = {(item.file, item.equals) for item in pool.given.left_out}
    assert named == {
        ("non_members/copy.png", "members/in03.png"),
        ("reference/copy.png", "members/in04.png"),
        ("reference/another.png", "non_members/out02.png"),
    }
    assert pool.left_out == 3 and "left out: 1 non_members that equal members" in pool.notes
    assert "copy" not in " ".join(pool.notes) and "copy" not in repr(pool.given)


def test_near_copies_of_a_record_of_an_earlier_part_are_left_out_and_named_as_copies_are(folders):
    """The same pictures, brighter by a little and saved with loss: what no other record of the folders is."""

    def saved_again(source, target):
        pixels = np.asarray(Image.open(folders / source)).astype(int)
        Image.fromarray((pixels + 3).clip(0, 255).astype(np.uint8)).save(folders / target)

    saved_again("in/in03.png", "out/again.png")
    saved_again("out/again.png", "ref/again.png")  # of the member, and of the non-member that is left out
    saved_again("out/out02.png", "ref/another.png")
    saved_again("in/in05.png", "in/twice.png")  # of one part: both stay
    shutil.copy(folders / "in" / "in04.png", folders / "out" / "copy.png")
    pool = pool_of(folders)
    assert pool.given.counts() == {"members": 13, "non_members": 10, "reference": 8}
    assert {(item.file, item.equals) for item in pool.given.left_out} == {
        ("non_members/again.png", "members/in03.png"),
        ("non_members/copy.png", "members/in04.png"),
        ("reference/again.png", "members/in03.png"),
        ("reference/another.png", "non_members/out02.png"),
    }
    assert pool.given.reasons() == {
        "non_members that equal members": 1,
        "non_members that nearly equal members": 1,
        "reference that nearly equal members": 1,
        "reference that nearly equal non_members": 1,
    }
    kept = pool_of(folders, near_copies="keep").given
    assert kept.counts() == {"members": 13, "non_members": 11, "reference": 10}


def test_records_that_are_all_left_out_are_said_with_the_reason(folders):
    shutil.rmtree(folders / "out")
    shutil.copytree(folders / "in", folders / "out")
    with pytest.raises(
        Refused,
        match=r"split\.non_members: 0 of 12 records are left, .*: 12 non_members that equal members were left out",
    ):
        pool_of(folders)


@pytest.mark.parametrize("part", ["in", "out", "ref"])
def test_images_that_are_not_read_are_refused_and_never_passed_over_in_silence(folders, part):
    """As in image_folder: members that nobody reads would be judged by nobody."""
    (folders / part / "scan.dcm").write_bytes(b"\0" * 128 + b"DICM")
    shutil.copy(folders / part / f"{part}00.png", folders / part / "scan")
    (folders / part / "notes.txt").write_text("x")
    with pytest.raises(Refused, match=r"2 records of .*scan: is a PNG image without its suffix.*scan.dcm: is DICOM"):
        pool_of(folders)
    pool = pool_of(folders, on_unreadable="skip")
    assert pool.left_out == 2 and sum(pool.given.counts().values()) == 30
    assert any(note.endswith("passed over, no images by their names: 1") for note in pool.notes)
    assert "scan" not in " ".join(pool.notes)


def test_a_folder_of_nothing_but_images_that_are_not_read_says_what_they_are(folders):
    shutil.rmtree(folders / "in")
    (folders / "in").mkdir()
    np.save(folders / "in" / "a.npy", np.zeros(3))
    with pytest.raises(Refused, match=r"has no images that are read: a.npy: is a NumPy array"):
        pool_of(folders)


def test_a_table_of_persons_may_name_images_that_are_skipped(folders):
    (folders / "in" / "broken.png").write_bytes(b"no image")
    (folders / "who.csv").write_text("\ufefffile;person\nbroken.png;p\nin00.png;p\n", encoding="utf-8")
    pool = pool_of(folders, groups="who.csv", on_unreadable="skip")
    assert pool.given.counts()["members"] == 12 and pool.given.persons[0] == "p"


def test_a_table_of_persons_with_other_columns_is_refused_with_the_settings_that_name_them(folders):
    (folders / "who.csv").write_text("image,patient\nin00.png,p\n")
    with pytest.raises(Refused, match=r"split\.groups: .*no column 'file'.*name another by data\.file_column"):
        pool_of(folders, groups="who.csv")
    assert pool_of(folders, groups="who.csv", file_column="image", person_column="patient").given.persons[0] == "p"


def test_persons_are_read_by_file_name_and_stay_on_one_side(folders):
    rows = [f"in{number:02}.png,p{number // 3}" for number in range(12)] + ["out/out00.png,q", "out01.png,q"]
    (folders / "who.csv").write_text("file,person\n" + "\n".join(rows))
    pool = pool_of(folders, groups="who.csv")
    assert pool.groups[:12].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert pool.groups[12] == pool.groups[13] and len(np.unique(pool.groups)) == 4 + 1 + 8 + 8
    assert pool.given.persons[0] == "p0" and pool.given.persons[-1] is None
    (folders / "who.csv").write_text("file,person\nin00.png,p0\nout00.png,p0\nout01.png,p0\nref00.png,p0\n")
    with pytest.raises(Refused, match=r"1 persons are among members and non_members.*their 2 images"):
        pool_of(folders, groups="who.csv")
    left = pool_of(folders, groups="who.csv", shared_persons="leave_out").given
    assert left.counts() == {"members": 12, "non_members": 8, "reference": 7}
    assert left.reasons() == {
        "non_members of persons among members": 2,
        "reference of persons among members": 1,
    }


def test_all_pages_of_a_file_are_of_the_person_that_the_table_names(folders):
    first, *others = [Image.open(folders / "in" / f"in{number:02}.png") for number in range(3)]
    first.save(folders / "in" / "stack.tif", save_all=True, append_images=[page.rotate(90) for page in others])
    (folders / "who.csv").write_text("file,person\nstack.tif,p\nin05.png,p\n")
    pool = pool_of(folders, groups="who.csv", pages="all", shared_persons="leave_out")
    named = [file for file, person in zip(pool.files, pool.given.persons, strict=True) if person == "p"]
    assert named == ["members/in05.png", *(f"members/stack.tif, page {page}" for page in (1, 2, 3))]
    assert len({pool.groups[pool.files.index(file)] for file in named}) == 1


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            "nowhere.png,p\nin00.png,p\nlost.png,q",
            "names 2 files of 3 that are in none .* first 'nowhere.png' in row 2",
        ),
        ("same.png,p", "is in members and non_members; write the folder's name before it"),
        ("in00.png,p\nin00.png,q", "has two persons"),
        ("in00.png,Ann\nin01.png,ann", "differ by spelling alone"),
    ],
)
def test_a_table_of_persons_that_does_not_fit_is_refused(folders, rows, words):
    for name in ("in", "out"):
        Image.fromarray(np.full((12, 12, 3), len(name), np.uint8)).save(folders / name / "same.png")
    (folders / "who.csv").write_text(f"file,person\n{rows}\n")
    with pytest.raises(Refused, match=words):
        pool_of(folders, groups="who.csv")


def test_folders_that_are_no_folders_or_one_and_the_same_are_refused(folders):
    with pytest.raises(Refused, match=r"split\.members: .*nowhere is no folder"):
        pool_of(folders, members="nowhere")
    with pytest.raises(Refused, match="is the folder of members"):
        pool_of(folders, non_members="in")


def test_compression_is_made_equal_where_only_some_folders_are_lossy(folders):
    write(folders / "jpeg", 6, 5, ".jpg", quality=60)
    assert pool_of(folders).given.quality is None
    pool, kept = pool_of(folders, non_members="jpeg"), pool_of(folders, non_members="jpeg", compression="keep")
    assert pool.given.quality == 90 and kept.given.quality is None
    assert np.array_equal(pool.images, reencoded(kept.images)) and not np.array_equal(pool.images, kept.images)
    assert any("JPEG of quality 90" in note for note in pool.notes)


def test_facts_of_files_differ_with_their_making_and_not_with_their_times(folders, tmp_path):
    write(tmp_path / "low", 4, 7, ".jpg", quality=30)
    write(tmp_path / "high", 4, 7, ".jpg", quality=95)
    low, high = (file_facts(sorted((tmp_path / name).iterdir())) for name in ("low", "high"))
    column = FACTS.index("jpeg_table_0")
    assert (low[:, column] > high[:, column]).all() and (low[:, 0] < high[:, 0]).all()
    moved = shutil.copy(tmp_path / "low" / "low00.jpg", tmp_path / "later.jpg")
    assert np.array_equal(file_facts([moved])[0], low[0])
    tagged = tmp_path / "tagged.jpg"
    exif = Image.Exif()
    exif[270] = "x"
    Image.open(moved).save(tagged, exif=exif)
    assert file_facts([tagged])[0, FACTS.index("exif")] == 1 and low[0, FACTS.index("exif")] == 0
    assert standardized(np.ones((3, 2))).tolist() == [[0], [0], [0]]


def test_a_given_split_judges_all_but_known_records_and_none_can_be_trained_anew(folders):
    split = SPLITS.choose({"name": "given", "known_percent": 25}).build(pool_of(folders), (1,), 0)
    membership = split.membership(0, 1)
    assert len(split.known_members) == len(split.known_non_members) == 3
    assert np.array_equal(membership.train, np.arange(12)) and len(membership.queries) == 12 + 10 - 6
    assert membership.member.sum() == 9 and split.judges(membership.queries).all()
    assert not np.isin(split.unseen, split.known_non_members).any() and len(split.unseen) == 7
    assert [len(side) for side in split.known(10)] == [1, 1]
    with pytest.raises(Refused, match=r"split.known_percent is 25"):
        split.known(30)
    assert split.null_refusal(12)


def test_known_records_leave_enough_non_members_to_judge_where_there_are_enough(folders):
    pool = pool_of(folders)
    sizes = {}
    for first in (8, 10, 11):
        choice = SPLITS.choose({"name": "given", "known_percent": 25, "judged_first": first})
        sizes[first] = len(choice.build(pool, (), 0).unseen)
    assert sizes == {8: 8, 10: 10, 11: 7}


def test_held_out_non_members_stand_in_for_samples_and_are_not_asked(folders):
    split = SPLITS.choose({"name": "given"}).build(pool_of(folders), (1,), 0)
    stand_in, judged = split.held_out(0)
    assert len(stand_in) == 5 and np.isin(stand_in, split.non_members).all()
    assert not np.isin(stand_in, judged.queries).any() and judged.member.sum() == 12 and len(judged.queries) == 17


def test_a_given_split_needs_folders(folders):
    with pytest.raises(Refused, match="given needs members and non_members"):
        SPLITS.choose({"name": "given"}).build(load_pool(SOURCES.choose("digits")), (1,), 0)
