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
    monkeypatch.setenv("PLACE", "data")
    assert expanded("~/x") == tmp_path / "x"
    assert expanded("$HOME/$PLACE/${PLACE}s") == tmp_path / "data" / "datas"
    assert expanded("s~/x") == Path("s~/x")
    assert expanded_text("s3://bucket/$PLACE/x") == "s3://bucket/data/x"
    assert expanded("$(touch x)") == Path("$(touch x)")
    assert expanded("/a/$PLACE", variables=False) == Path("/a/$PLACE")


@pytest.mark.parametrize("path", ["$NOBODY_SET_THIS/x", "x/${NOBODY_SET_THIS}"])
def test_a_variable_that_is_not_set_is_refused_with_its_name(path, monkeypatch):
    monkeypatch.delenv("NOBODY_SET_THIS", raising=False)
    with pytest.raises(Refused, match="there is no variable NOBODY_SET_THIS; set it, or write the path out"):
        expanded(path)


def test_a_name_with_a_dollar_that_is_there_is_taken_as_it_is(tmp_path):
    (tmp_path / "$NOBODY_SET_THIS").mkdir()
    assert expanded(tmp_path / "$NOBODY_SET_THIS") == tmp_path / "$NOBODY_SET_THIS"


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
