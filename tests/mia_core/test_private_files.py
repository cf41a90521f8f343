import os
import stat

import pytest

from mia_core.private_files import make_folder, open_file


@pytest.fixture(autouse=True)
def everything_is_allowed():
    """By the umask, so that what is private was made so."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path):
    return oct(stat.S_IMODE(path.stat().st_mode))


def test_folders_and_all_made_above_them_are_for_their_owner_alone(tmp_path):
    make_folder(tmp_path / "a" / "b" / "c")
    assert {mode(tmp_path / name) for name in ("a", "a/b", "a/b/c")} == {"0o700"}


def test_a_folder_that_exists_keeps_its_mode(tmp_path):
    (tmp_path / "a").mkdir(0o755)
    make_folder(tmp_path / "a")
    make_folder(tmp_path / "a" / "b")
    assert (mode(tmp_path / "a"), mode(tmp_path / "a" / "b")) == ("0o755", "0o700")


def test_a_file_in_the_way_of_a_folder_is_an_error(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "a")
    with pytest.raises(NotADirectoryError):
        make_folder(tmp_path / "a" / "b")


@pytest.mark.parametrize("how", ["w", "x", "a", "wb", "xb", "ab"])
def test_files_are_for_their_owner_alone(tmp_path, how):
    with open_file(tmp_path / "file", how) as file:
        file.write(b"\xc3\xa4" if "b" in how else "ä")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "ä"
    assert mode(tmp_path / "file") == "0o600"


def test_a_file_that_exists_keeps_its_mode_unless_it_must_not_exist(tmp_path):
    (tmp_path / "file").write_text("before")
    (tmp_path / "file").chmod(0o644)
    with open_file(tmp_path / "file", "w") as file:
        file.write("after")
    assert (tmp_path / "file").read_text() == "after"
    assert mode(tmp_path / "file") == "0o644"
    with pytest.raises(FileExistsError):
        open_file(tmp_path / "file", "x")
