"""`mia-study data`: a folder of images in words and one picture; and a flat folder as a study."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from mia_core.data import load_pool
from study.design import data_shown
from study.design.data_shown import recorded
from study.design.design_rows import design_rows
from study.design.study_design import Design
from study.design.work import missing_of
from study.outcomes import COMPLETE, REFUSED
from study.plan import overview
from study.run.runner import Runner
from study.spec.study_file import read
from study.store import Store, seals
from study.store import read as read_table
from study.terminal import Console
from tests.commands import mia_study

main = mia_study("data")
COUNT = 60


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A flat folder: 60 images, a copy, a near-copy, one that is not square, one that is small, and what is none."""
    monkeypatch.setenv("MIA_STUDY_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "my scans"
    folder.mkdir()
    images = np.random.default_rng(0).integers(20, 236, (COUNT, 16, 16), dtype=np.uint8)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"scan {number:02}.png")
    Image.fromarray(images[3]).save(folder / "scan 03 Kopie.png")
    Image.fromarray(images[5] + np.uint8(1)).save(folder / "scan 05 heller.png")
    Image.fromarray(images[7].repeat(2, 1)).save(folder / "breit ü.png")
    Image.fromarray(images[8, :8, :8]).save(folder / "klein.png")
    (folder / "kaputt.png").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    (folder / "Thumbs.db").write_bytes(b"x")
    path = tmp_path / "study.yaml"
    path.write_text(
        f"""
study: mine
data: {{name: image_folder, root: '{folder}', size: 16, channels: 1, on_unreadable: skip}}
split: {{reference: 10, unseen: 10, panel: 20}}
target: {{name: dcgan, width: 4, latent: 8}}
training: {{batch_size: 8}}
factors: {{train_size: [16], epochs: [1]}}
replicates: 1
attacks: [white_box]
controls: {{blind: false, nulls: 0, copycat: false, member_only: false}}
results: {tmp_path}/results
tracking: ~
"""
    )
    return path


def test_it_says_what_is_there_with_names_and_draws_it(study, capsys):
    assert main([str(study)]) == COMPLETE
    said = capsys.readouterr().out
    for line in (
        "images: 64 of 16 x 16 pixels, gray",
        "classes: one; what needs several is skipped",
        "persons: none are named, so that every image counts as a person of its own",
        "copies: 2 images that are equal to others, in 1 set",
        "near-copies: 2 images that differ little from others (by at most 4 of 128 bits of a hash, and 8 of 255 gray "
        "levels), in 1 set",
        "cropped: 1 of 64 are not square: what lies outside of the central square, up to 50% of an image, is cut away",
        "enlarged: 1 of 64 have a side shorter than 16 pixels, the smallest 8",
        "left out: 1 file",
        "  scan 03 Kopie.png, scan 03.png",
        "  scan 05 heller.png, scan 05.png",
        "  kaputt.png: is a Git-LFS pointer, and not the file itself; fetch it with git lfs pull",
    ):
        assert line in said.split("\n"), line
    sheet = Image.open(study.parent / "results" / "mine" / "reports" / "contact_sheet.png")
    assert (sheet.mode, sheet.format) == ("L", "PNG")
    assert sheet.width == 16 * (64 + 2) + 2


def test_the_picture_goes_where_it_is_wanted_and_only_a_png_does(study, capsys, tmp_path):
    assert main([str(study), "--output", str(tmp_path / "mine.png"), "--names", "0"]) == COMPLETE
    assert (tmp_path / "mine.png").is_file()
    assert "Kopie" not in capsys.readouterr().out
    assert main([str(study), "--output", str(tmp_path / "mine.pdf")]) == REFUSED


def test_it_shows_all_that_a_sweep_is_refused_for(study, capsys):
    assert main([str(study), "--set", "data.on_unreadable=refuse"]) == COMPLETE
    said = capsys.readouterr().out
    assert "left out: 1 file" in said and "a sweep is refused: data: 1 records" in said
    assert main([str(study)]) == COMPLETE
    assert "a sweep is refused" not in capsys.readouterr().out


def test_it_looks_at_a_pool_whose_split_does_not_fit_yet(study):
    assert main([str(study), "--set", "split.panel=5000"]) == COMPLETE


def test_what_is_kept_for_the_report_has_no_names(study):
    spec = read(study)
    kept = json.dumps(recorded(spec, load_pool(spec.data)), ensure_ascii=False)
    assert "cropped" in kept and "near-copies" in kept
    for word in ("scan", "Kopie", "klein", "kaputt", str(study.parent)):
        assert word not in kept


def test_near_copies_of_a_large_pool_are_left_to_the_command(study, monkeypatch):
    spec = read(study)
    monkeypatch.setattr(data_shown, "MOST_COUNTED", COUNT)
    assert (
        recorded(spec, load_pool(spec.data))["near-copies"]
        == "not counted, of more than 60 images; mia-study data does"
    )


@pytest.mark.parametrize("words", [[], {"images": 3}, {"images": None}, "64 images"], ids=repr)
def test_words_of_a_store_that_are_none_are_refused(words):
    pointer = {"study": "mine", "spec": "0" * 16, "format": 4, "files": {}}
    assert seals.parse_pointer(seals.to_json({**pointer, "data": {"images": "64"}}))
    with pytest.raises(ValueError, match="describes its data oddly"):
        seals.parse_pointer(seals.to_json({**pointer, "data": words}))


def test_a_flat_folder_is_a_study_whose_quality_is_skipped_with_the_reason(study):
    spec = read(study)
    design = Design(spec, load_pool(spec.data))
    out = io.StringIO()
    overview.show(Console(file=out, width=1000), design, {})
    assert "skipped: kid, fid, precision, recall, density, coverage, copies in features, " in out.getvalue()
    assert "persons_copied in features: the feature network learns to tell classes apart, and all" in out.getvalue()
    assert "data: cropped: 1 of 64 are not square" in out.getvalue()
    store = Store(spec.results, spec.study)
    store.publish(design.hash, spec.resolved, design_rows(design), {"data": recorded(spec, design.pool)})
    (done,) = Runner(design, store).run(missing_of(design.trials, store))
    assert not done.failed
    assert len(read_table(store.root, "mine", "attacks")) == 1
    assert len(read_table(store.root, "mine", "quality")) == 0
    assert store.pointer()["data"]["left out"] == "1 file"


def test_a_search_by_the_quality_of_a_flat_folder_is_refused(study):
    search = "search={objectives: [{maximize: coverage_domain_unseen}], points: 4}"
    ranges = "factors={train_size: {low: 16, high: 20}, epochs: [1]}"
    spec = read(study, [search, ranges])
    with pytest.raises(ValueError, match=r"search.objectives: coverage_domain_unseen is not measured: the feature net"):
        Design(spec, load_pool(spec.data))
