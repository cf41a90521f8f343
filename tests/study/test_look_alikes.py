import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mia_core.data import load_pool
from study.design.look_alikes import find
from study.outcomes import COMPLETE, REFUSED
from study.spec.study_file import read
from tests.commands import mia_study

main = mia_study("near-duplicates")

COUNT, PAIRS = 300, 40


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A folder of 300 images, of which the last 40 are others with a little noise, and a study on it."""
    monkeypatch.setenv("MIA_STUDY_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    images = rng.integers(20, 236, (COUNT, 9, 9), dtype=np.uint8).repeat(2, axis=1).repeat(2, axis=2)
    noise = rng.integers(-2, 3, (PAIRS, 18, 18))
    images[COUNT - PAIRS :] = images[:PAIRS] + noise
    (tmp_path / "images").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "images" / f"{number:03}.png")
    path = tmp_path / "study.yaml"
    path.write_text(
        f"""
study: alike
data: {{name: image_folder, root: {tmp_path}/images, size: 18, channels: 1}}
split: {{reference: 20, unseen: 0, panel: 100, extra_non_members: 60}}
target: {{name: dcgan, width: 4, latent: 8}}
factors: {{train_size: [60, 100], epochs: [1]}}
replicates: 3
attacks: [white_box]
results: {tmp_path}/results
tracking: ~
"""
    )
    return path


def test_noisy_copies_across_the_line_are_found_and_no_others(study):
    spec = read(study)
    pool = load_pool(spec.data)
    pairs = find(spec, pool, "hash")
    split = spec.split.build(pool, spec.train_sizes, spec.seed)
    expected = set()
    for replicate in range(3):
        cell = split.membership(replicate, 100)
        outside, train = set(cell.queries[~cell.member]), set(cell.train)
        assert set(pairs["query"][pairs["replicate"] == replicate]) == outside
        for first in range(PAIRS):
            second = COUNT - PAIRS + first
            for query, record in ((first, second), (second, first)):
                if query in outside and record in train:
                    expected.add((replicate, query, record))
    close = pairs[pairs["distance"] <= 8]
    assert len(expected) > 5
    assert set(close[["replicate", "query", "record"]].itertuples(index=False, name=None)) == expected
    assert pairs["distance"].is_monotonic_increasing
    by_thumbnail = find(spec, pool, "thumbnail").head(len(expected))
    assert set(by_thumbnail[["replicate", "query", "record"]].itertuples(index=False, name=None)) == expected


def test_the_split_keeps_them_on_one_side_on_request(study):
    spec = read(study, ["split.near_duplicates=8"])
    assert find(spec, load_pool(spec.data), "hash")["distance"].min() > 8


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.parquet"])
def test_the_command_prints_a_summary_and_writes_all_pairs(study, capsys, name):
    output = study.parent / "new" / name
    assert main([str(study), "--set", "replicates=2", "--pairs", "3", "--output", str(output)]) == COMPLETE
    table = pd.read_csv(output) if name.endswith("csv") else pd.read_parquet(output)
    assert set(table["replicate"]) == {0, 1}
    assert [oct(path.stat().st_mode & 0o777) for path in (output.parent, output)] == ["0o700", "0o600"]
    printed = capsys.readouterr().out
    assert f"{len(table)} non-member queries in 2 replicates" in printed
    assert f"at most  8 of 128 bits apart: {(table['distance'] <= 8).mean():7.2%}" in printed
    assert str(table["query"][0]) in printed


def test_pairs_go_beside_the_studys_reports_by_default(study):
    assert main([str(study)]) == COMPLETE
    assert (study.parent / "results" / "alike" / "reports" / "near_duplicates.csv").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "pairs.xlsx"], "--output pairs.xlsx: must end in .csv or .parquet"),
        (["--set", "data.root=nowhere"], "nowhere is not a folder"),
        (["--set", "split.near_duplicates=-1"], "split.near_duplicates: "),
    ],
)
def test_what_cannot_be_done_is_refused(study, capsys, arguments, message):
    assert main([str(study), *arguments]) == REFUSED
    assert message in capsys.readouterr().err
