"""Names and texts of somebody else in a study file, and in the names of files, classes and people of its data."""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

from tests.commands import mia_study
from tests.hostile.kinds import KINDS
from tests.hostile.places import FEW
from tests.small import small_spec


def test_names_of_classes_people_and_files_of_the_data_are_texts_in_a_plan(tmp_path, capsys):
    root = tmp_path / "pictures"
    root.mkdir()
    texts = [text for kind, text in KINDS.items() if kind != "nul"]  # the csv module reads none
    table = io.StringIO()
    rows_of_table = csv.writer(table)
    rows_of_table.writerow(["file", "label", "person"])
    for number, text in enumerate(4 * texts):
        name = f"f{text.replace('/', '')[:50]}-{number}.png"
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(root / name)
        rows_of_table.writerow([name, text, f"{text}{number}"])
    (root / "labels.csv").write_text(table.getvalue(), newline="")
    for number, text in enumerate(texts):
        (root / f"f{text.replace('/', '')[:50]}-{number}.txt").write_text("")
    data = {"name": "image_folder", "root": str(root), "size": 8, "channels": 1, "labels": "labels.csv"}
    document = {**small_spec(*FEW).resolved, "data": {**data, "group_column": "person"}}
    document |= {"split": {"reference": 0, "unseen": 0, "known": 0, "panel": 10}, "quality": {"measures": []}}
    document["factors"] = {"train_size": [10], "epochs": [1], "target": ["dcgan"]}
    document["training"] = {"batch_size": 5}
    (tmp_path / "study.json").write_text(json.dumps(document))
    assert mia_study("sweep")([str(tmp_path / "study.json"), "--plan", "--set", f"results={tmp_path}"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"image_folder, {4 * len(texts)} records" in said and f"{len(texts)} files of" in said


STUDY_FILES = {
    "factors": lambda text: {"factors": {"train_size": [40], "epochs": [1], f"target.{text}": [1, 2]}},
    "attacks": lambda text: {"attacks": [{"name": "white_box", "label": text}]},
    "study": lambda text: {"study": text},
    "target": lambda text: {"target": {"name": text}},
    "data": lambda text: {"data": {"name": text}},
    "measures": lambda text: {"quality": {"measures": [text]}},
    "defense": lambda text: {"factors": {"train_size": [40], "epochs": [1], "defense": [text]}},
    "setting": lambda text: {"factors": {"train_size": [40], "epochs": [1], "target.norm": ["group", text]}},
}


@pytest.mark.parametrize("place", STUDY_FILES)
def test_a_study_file_with_a_name_that_is_none_is_refused_in_one_line(place, tmp_path, capsys):
    sound = json.loads(json.dumps(small_spec(*FEW).resolved))
    for text in KINDS.values():
        path = tmp_path / "study.json"
        path.write_text(json.dumps({**sound, **STUDY_FILES[place](text)}))
        assert mia_study("sweep")([str(path), "--plan"]) == 2
        said = capsys.readouterr()
        assert len([line for line in said.err.splitlines() if line]) == 1, (place, text)
        assert said.err.strip().isprintable() or place not in ("factors", "attacks")
