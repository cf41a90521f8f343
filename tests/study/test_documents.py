import pytest

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


def test_missing_binary_and_non_mapping_files_are_refused(tmp_path):
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    listed = tmp_path / "list.yaml"
    listed.write_text("- a")
    for path in (tmp_path / "absent.yaml", tmp_path, binary, listed):
        with pytest.raises(ValueError, match=path.name):
            load(path)
