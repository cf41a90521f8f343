import pytest

from mia_core.errors import Refused
from study.spec.documents import load, parse


def test_numbers_and_words_mean_what_they_look_like():
    text = "a: 1e-4\nb: no\nc: 010\nd: [1, 2.5, -3, .5]\ne: ~\nf: true\ng: 2026-01-01"
    assert parse(text, "x") == {
        "a": 1e-4, "b": "no", "c": "010", "d": [1, 2.5, -3, 0.5], "e": None, "f": True, "g": "2026-01-01",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "x.yaml:3:1: duplicate key 'a'"),
        ("a: {b: 1, b: 2}", "duplicate key 'b'"),
        ("a: &x [1]\nb: *x", "x.yaml:1:4: anchors and aliases are not allowed"),
        ("b: *x", "x.yaml:1:4: anchors and aliases are not allowed"),
        (
            "a: !!python/object/apply:os.system [exit]",
            "x.yaml:1:4: tags are not allowed, and here is tag:yaml.org,2002:python/object/apply:os.system",
        ),
        ("a: [1", "x.yaml:1:"),
        ("1: a", "keys must be plain words"),
        ("? [a]\n: 1", "keys must be plain words"),
        ("a: \x00", "not valid YAML"),
        ("a: !!int word", "tags are not allowed"),
    ],
)
def test_what_a_study_file_may_not_have_is_refused_in_one_line(text, message):
    with pytest.raises(ValueError) as error:
        parse(text, "x.yaml")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("number", [f"{2**63}", "-" + "9" * 400, "1" * 5000, "1e999", "-1e400", "Infinity", "NaN"])
def test_json_has_no_number_that_yaml_may_not_have(tmp_path, number):
    path = tmp_path / "some.json"
    path.write_text(f'{{"a": [{2**63 - 1}, {number}]}}')
    with pytest.raises(Refused, match=r"some\.json: not valid JSON: a.1: .* is no number below 2\^63"):
        load(path)


def test_json_has_no_character_that_cannot_be_written(tmp_path):
    path = tmp_path / "some.json"
    for text in (r'{"\ud800": 1}', r'{"a": ["\udfff"]}'):
        path.write_text(text)
        with pytest.raises(Refused, match="characters that are none"):
            load(path)
    path.write_text(r'{"a": "\ud83c\udf89 \u00e9"}')
    assert load(path) == {"a": "\U0001f389 \u00e9"}


def test_missing_binary_and_non_mapping_files_are_refused(tmp_path):
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    listed = tmp_path / "list.yaml"
    listed.write_text("- a")
    for path in (tmp_path / "absent.yaml", tmp_path, binary, listed):
        with pytest.raises(ValueError, match=path.name):
            load(path)
