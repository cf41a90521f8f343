"""Fault 17 and 19: YAML that executes, explodes or is not what it looks like is refused at once, by every reader."""

import json
import time

import pytest

from study.spec import documents
from tests.commands import mia_study
from tests.hostile import FILES, YAML, does_nothing

SECONDS = 2.0


def say_no(main, arguments, capsys):
    """What a command says, in one line, as it refuses."""
    begun = time.process_time()
    assert main(arguments) == 2
    assert time.process_time() - begun < SECONDS
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("refused: ")
    assert len(line) < 1000
    assert does_nothing(line)
    return line


@pytest.mark.parametrize("what", YAML)
def test_a_hostile_study_or_cluster_file_is_refused_at_once_in_one_line(what, tmp_path, capsys):
    path = tmp_path / "some.yaml"
    text = YAML[what]
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    for main, arguments in (
        (mia_study("sweep"), [str(path), "--plan"]),
        (mia_study("config"), [str(path)]),
        (mia_study("status"), [str(path)]),
        (mia_study("cluster"), ["check", str(path)]),
        (mia_study("cluster"), ["down", str(path)]),
    ):
        say_no(main, arguments, capsys)


@pytest.mark.parametrize("what", [what for what, text in YAML.items() if isinstance(text, str)])
def test_a_hostile_value_is_refused_at_once_in_one_line(what, capsys):
    say_no(mia_study("sweep"), ["--plan", "--set", f"seed={YAML[what]}"], capsys)


WORDS = ["no", "Yes", "on", "010", "0x1f", "0b1", "1_000", "12:30", "2026-01-01", "1e3", "=", "<<"]


@pytest.mark.parametrize("word", WORDS)
def test_a_word_that_ray_would_read_as_something_else_is_refused(word, tmp_path, capsys):
    """Ray reads YAML 1.1: `no` is False, 010 is 8 and 12:30 is 750 there, and 1e3 a word."""
    path = tmp_path / "some.yaml"
    path.write_text(f"cluster_name: [a, {word}]")
    assert f"some.yaml:1:19: Ray, by YAML 1.1, takes {word} for another value" in say_no(
        mia_study("cluster"), ["check", str(path)], capsys
    )
    path.write_text(f"cluster_name: [a, '{word}']")
    assert documents.load(path, for_ray=True) == {"cluster_name": ["a", word]}
    assert "Ray" not in say_no(mia_study("cluster"), ["check", str(path)], capsys)


ODD = [
    "provider: {type: [aws]}", "provider: {type: {}}", "provider: {type: ~}", "provider: {type: aws}",
    "provider: {type: aws}\navailable_node_types: {head: 3}\nhead_node_type: head",
    "provider: {type: aws}\navailable_node_types: []\nhead_node_type: []",
    "provider: {type: aws}\navailable_node_types: {head: {node_config: ~}}\nhead_node_type: head\nauth: 3",
    "provider: {type: gcp}\nfile_mounts: []\ncluster_name: 3", "provider: {type: local, worker_ips: [[1]]}",
    "provider: {type: local, worker_ips: {a: 1}, head_ip: []}",
    "provider: {type: local, head_ip: 10.3.4.1, worker_ips: [10.3.4.2]}\nmin_workers: []",
    "provider: {type: local, head_ip: 10.3.4.1, worker_ips: [10.3.4.2]}\nauth: {ssh_private_key: [3]}\ncluster_name: a",
]  # fmt: skip


@pytest.mark.parametrize("text", ODD)
def test_a_cluster_file_of_odd_types_is_refused_by_lines(text, tmp_path, capsys):
    path = tmp_path / "some.yaml"
    path.write_text(text)
    assert mia_study("cluster")(["check", str(path)]) == 2
    assert all(line.startswith("refused: ") for line in capsys.readouterr().err.splitlines())


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", sorted(FILES.keys() - {"out"}))
def test_what_is_no_file_in_place_of_one_is_refused_at_once_in_one_line(kind, tmp_path, capsys):
    path = tmp_path / "some.yaml"
    FILES[kind](path, None)
    for main, arguments in ((mia_study("sweep"), [str(path), "--plan"]), (mia_study("cluster"), ["check", str(path)])):
        assert str(path) in say_no(main, arguments, capsys)


def test_json_is_read_as_json_with_more_values_and_the_same_refusals(tmp_path):
    path = tmp_path / "some.json"
    values = {"a": [1, 2.5, -3, 1e-5, True, None, "no", "é"], "b": list(range(2 * documents.VALUES))}
    path.write_text(json.dumps(values))
    assert documents.load(path) == values
    for text in ('{"a": 1, "a": 2}', '{"a": NaN}', '{"a": -Infinity}', '{"a": 1', "[1]", '{"a": ' + "[" * 100_000):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"some\.json: (not valid JSON|expected keys)"):
            documents.load(path)
