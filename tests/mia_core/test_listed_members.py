"""Published members: replicate 0 trains on them, later ones on random records; what is no such list is refused."""

import hashlib

import numpy as np
import pytest

from mia_core.data import SPLITS
from mia_core.errors import Refused

PARTS = {"reference": 60, "unseen": 40, "known": 10}


def write(path, **arrays):
    np.savez(path, **arrays)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def build(pool, path, sha256, sizes=(280,), array="idx", **settings):
    spec = {"name": "logan", **PARTS, "members": f"{path}:{array}", "members_sha256": sha256, **settings}
    return SPLITS.choose(spec).build(pool, sizes, 3)


@pytest.fixture
def listed(tmp_path, plain):
    """A random half of the pool, its file and sha256."""
    index = np.random.default_rng(5).permutation(len(plain))[: len(plain) // 2]
    path = tmp_path / "split.npz"
    return index, path, write(path, idx=index, other=np.arange(5.0), twice=np.array([1, 1]), far=np.array([0, 600]))


def test_replicate_0_trains_on_the_listed_members_that_are_not_kept_aside(plain, listed):
    index, path, sha256 = listed
    split = build(plain, path, sha256)
    cell = split.membership(0, 280)
    aside = np.concatenate([split.reference, split.unseen, split.known_non_members])
    assert set(cell.train) == (set(index) - set(aside)) | set(split.known_members)
    assert set(cell.queries[cell.member]) == set(cell.train) - set(split.known_members)
    assert set(cell.queries) == set(range(600)) - set(aside) - set(split.known_members)
    split.check_sizes(3, (280,))


def test_later_replicates_and_all_other_parts_are_those_of_the_split_without_a_list(plain, listed):
    _, path, sha256 = listed
    split, random = build(plain, path, sha256), SPLITS.choose({"name": "logan", **PARTS}).build(plain, (280,), 3)
    assert np.array_equal(split.reference, random.reference)
    for replicate in (1, 2):
        assert np.array_equal(split.membership(replicate, 280).train, random.membership(replicate, 280).train)
    assert not np.array_equal(split.membership(0, 280).train, random.membership(0, 280).train)
    before = {"name": "logan", "groups": "keep", "near_duplicates": None, **PARTS}
    assert SPLITS.choose({"name": "logan", **PARTS}).to_dict() == before, "ids are as before there were lists"


def test_a_unit_with_several_records_stays_together(grouped, tmp_path):
    index = np.arange(0, 600, 2)
    sha256 = write(tmp_path / "split.npz", idx=index)
    split = build(grouped, tmp_path / "split.npz", sha256)
    cell = split.membership(0, 280)
    for unit in np.unique(split.units[cell.train]):
        assert set(np.flatnonzero(split.units == unit)) <= {*cell.train, *split.reference}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"array": "none"}, "has no such array"),
        ({"array": "other"}, "must be a list of whole numbers"),
        ({"array": "twice"}, "each of its records once, by numbers from 0 to 599"),
        ({"array": "far"}, "each of its records once, by numbers from 0 to 599"),
        ({"sizes": (100, 280)}, "members of one train_size are listed"),
        ({"members_sha256": "0" * 64}, "take the file of that sha256"),
        ({"members_sha256": None}, "give members and members_sha256 together"),
        ({"members": "missing.npy"}, "missing.npy cannot be read: No such file"),
    ],
    ids=str,
)
def test_what_is_no_list_of_members_is_refused(plain, listed, change, reason):
    _, path, sha256 = listed
    with pytest.raises(Refused, match=reason):
        build(plain, path, sha256, **change)


def test_a_train_size_far_from_the_list_is_refused(plain, listed):
    _, path, sha256 = listed
    with pytest.raises(Refused, match="members of train_size 150"):
        build(plain, path, sha256, sizes=(150,)).check_sizes(1, (150,))
