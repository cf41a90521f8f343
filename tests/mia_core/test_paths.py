from pathlib import Path

import pytest

from mia_core.data import cache
from mia_core.errors import Refused
from mia_core.paths import expanded, expanded_text


@pytest.fixture
def homeless(monkeypatch):
    """A user without HOME and without a password entry."""

    def none(user):
        raise KeyError(user)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", none)
    monkeypatch.setattr("pwd.getpwnam", none)
    for name in ("XDG_CACHE_HOME", "MIA_STUDY_CACHE"):
        monkeypatch.delenv(name, raising=False)


def test_a_home_and_variables_are_replaced_as_a_shell_would(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MIA_PLACE", "data")
    assert expanded("~/x") == tmp_path / "x"
    assert expanded("$HOME/$MIA_PLACE/${MIA_PLACE}s") == tmp_path / "data" / "datas"
    assert expanded("s~/x") == Path("s~/x")
    assert expanded_text("s3://bucket/$MIA_PLACE/x") == "s3://bucket/data/x"
    assert expanded("$(touch x)") == Path("$(touch x)")
    assert expanded("/a/$MIA_PLACE", "none") == Path("/a/$MIA_PLACE")


SECRET = "/wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "PGPASSWORD", "ANYTHING"])
@pytest.mark.parametrize("path", ["s3://theirs/${}/x", "${{{}}}", "~/${}", "/data/$HOME/a${{{}}}b"])
def test_no_value_that_may_be_a_secret_gets_into_a_path_of_a_setting(name, path, monkeypatch):
    monkeypatch.setenv(name, SECRET)
    with pytest.raises(Refused, match=f"may not name the variable {name}.*write the path out") as refused:
        expanded_text(path.format(name))
    assert SECRET not in str(refused.value)
    assert SECRET in expanded_text(path.format(name), "all")


def test_a_variable_with_a_folder_that_exists_is_harmless(monkeypatch, tmp_path):
    monkeypatch.setenv("DATA_OF_OURS", str(tmp_path))
    assert expanded("$DATA_OF_OURS/x") == tmp_path / "x"
    monkeypatch.setenv("DATA_OF_OURS", str(tmp_path / "absent"))
    with pytest.raises(Refused, match="may not name the variable DATA_OF_OURS"):
        expanded("$DATA_OF_OURS/x")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hunter2").mkdir()
    monkeypatch.setenv("DATA_OF_OURS", "hunter2")
    with pytest.raises(Refused, match="may not name the variable DATA_OF_OURS"):
        expanded("$DATA_OF_OURS/x")


def test_the_users_own_variables_for_the_cache_may_name_any(monkeypatch):
    monkeypatch.setenv("ANYTHING", "/a")
    monkeypatch.setenv("MIA_STUDY_CACHE", "$ANYTHING/b")
    assert cache.cache_folder(None) == Path("/a/b")
    with pytest.raises(Refused, match="may not name the variable ANYTHING"):
        cache.cache_folder("$ANYTHING/b")


@pytest.mark.parametrize("path", ["$NOBODY_SET_THIS/x", "x/${NOBODY_SET_THIS}"])
def test_a_variable_that_is_not_set_is_refused_with_its_name(path, monkeypatch):
    monkeypatch.delenv("NOBODY_SET_THIS", raising=False)
    with pytest.raises(Refused, match="there is no variable NOBODY_SET_THIS; set it, or write the path out"):
        expanded(path)


def test_a_name_with_a_dollar_that_is_there_is_taken_as_it_is(tmp_path):
    (tmp_path / "$NOBODY_SET_THIS").mkdir()
    assert expanded(tmp_path / "$NOBODY_SET_THIS") == tmp_path / "$NOBODY_SET_THIS"


def test_a_character_0_is_refused_before_the_system_raises_for_it():
    with pytest.raises(Refused, match=r"'a\\x00b': no path has a character 0"):
        expanded("a\0b")


def test_a_user_that_is_none_is_refused():
    with pytest.raises(Refused, match="there is no user nobody-of-this-name; write the path out"):
        expanded("~nobody-of-this-name/x")


def test_a_home_that_nobody_knows_is_refused_with_the_way_out(homeless):
    with pytest.raises(Refused, match="no home folder is known"):
        expanded("~/x")
    with pytest.raises(Refused, match=r"data\.cache: .*no home folder is known .*or set data\.cache"):
        cache.cache_folder(None)
    assert cache.cache_folder("/x") == Path("/x")
    assert expanded("x") == Path("x")


def test_a_cache_that_cannot_be_written_is_a_users_mistake(tmp_path):
    (tmp_path / "file").write_text("")
    writer = cache.Writer(tmp_path / "file" / "below" / "pool", (1, 8, 8))
    with pytest.raises(Refused, match=r"data\.cache: .* cannot be written: .*; name another folder"), writer:
        pass
