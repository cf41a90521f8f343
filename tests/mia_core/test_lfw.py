import hashlib

import numpy as np
import pytest
from PIL import Image

from mia_core.data import SOURCES, lfw, load_pool

COUNTS = {"Ann_Veneman": 3, "Colin_Powell": 5, "George_W_Bush": 7, "Hugo_Chavez": 3, "Zico": 1}


def jpeg(path, face):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(face).resize((250, 250)).convert("RGB").save(path, quality=90)


def unpack(folder, faces, counts=COUNTS):
    """The archive's layout: 250 x 250 color JPEGs, `<Person>/<Person>_0001.jpg`, beside lists of pairs."""
    number = iter(range(100))
    for person, count in counts.items():
        for photograph in range(1, count + 1):
            jpeg(folder / person / f"{person}_{photograph:04d}.jpg", faces[next(number)])
    (folder / "pairs_01.txt").write_text("Zico\t1\t1\n")
    return folder


def load(root, **settings):
    return load_pool(SOURCES.choose({"name": "lfw", "root": str(root), "size": 25, **settings}))


def test_faces_are_read_with_identities_as_groups_and_alphabetical_labels(tmp_path, faces):
    pool = load(unpack(tmp_path / "lfw_funneled", faces))
    assert pool.images.shape == (19, 3, 25, 25)
    assert pool.labels.tolist() == np.repeat(range(5), list(COUNTS.values())).tolist()
    assert np.array_equal(pool.groups, pool.labels)
    errors = abs(pool.images.astype(int) - faces[:19, None]).mean((1, 2, 3))
    assert errors.max() < 10  # JPEG, and the triangular filter reaches half way into neighboring pixels
    wrong = abs(pool.images.astype(int) - np.roll(faces[:19], 1, axis=0)[:, None]).mean((1, 2, 3))
    assert (errors < wrong / 2).all()


@pytest.mark.parametrize("below", ["", "lfw-py", "lfw_home"], ids=["unpacked", "torchvision", "scikit-learn"])
@pytest.mark.parametrize("alignment", lfw.FOLDERS)
def test_every_published_layout_is_found(tmp_path, faces, below, alignment):
    unpack(tmp_path / below / lfw.FOLDERS[alignment], faces)
    assert len(load(tmp_path, alignment=alignment)) == 19


def test_a_folder_inside_a_folder_of_its_name_is_found(tmp_path, faces):
    unpack(tmp_path / "lfw-deepfunneled" / "lfw-deepfunneled", faces)
    assert len(load(tmp_path, alignment="deepfunneled")) == 19


def test_the_wanted_alignment_is_taken_and_another_is_not(tmp_path, faces):
    unpack(tmp_path / "lfw", faces)
    unpack(tmp_path / "lfw_funneled", faces, {"Zico": 2})
    assert len(load(tmp_path)) == 2
    with pytest.raises(ValueError, match=r"data.alignment: .* no deepfunneled faces; it has funneled, original"):
        load(tmp_path, alignment="deepfunneled")


def test_the_most_photographed_identities_are_chosen_and_equal_ones_alphabetically(tmp_path, faces):
    root = unpack(tmp_path / "lfw", faces)
    pool = load(root, identities=3)
    assert np.bincount(pool.labels).tolist() == [3, 5, 7]  # Ann_Veneman before Hugo_Chavez
    everything = load(root)
    assert np.array_equal(pool.images, everything.images[everything.labels <= 2])
    with pytest.raises(ValueError, match=r"data.identities: .* has 5 identities, not 6"):
        load(root, identities=6)


def test_gray_faces_have_one_channel(tmp_path, faces):
    root = unpack(tmp_path, faces)
    gray, color = load(root, channels=1), load(root)
    assert gray.images.shape == (19, 1, 25, 25)
    assert abs(gray.images.astype(int) - color.images).max() <= 2


def test_misnamed_missing_and_truncated_photographs_are_all_listed(tmp_path, faces):
    root = unpack(tmp_path, faces)
    (root / "Zico" / "copy of Zico_0001.jpg").touch()
    (root / "Colin_Powell" / "Colin_Powell_0002.jpg").unlink()
    with pytest.raises(ValueError, match=r"2 records .*Colin_Powell_0002.jpg: missing; .*copy of .*: not named like"):
        load(root)
    path = root / "Hugo_Chavez" / "Hugo_Chavez_0003.jpg"
    path.write_bytes(path.read_bytes()[:2000])
    pool = load(root, on_unreadable="skip")
    assert len(pool) == 17
    assert len(pool.notes) == 3
    assert len(load(root, on_unreadable="skip", identities=1)) == 7  # nothing odd among these


def test_a_missing_data_set_says_where_was_looked_and_how_to_get_it(tmp_path):
    message = r"not in .*nowhere \(.*lfw_funneled/.*get it with data.download=true, or from https://www.kaggle.com/"
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "nowhere")


def archive_of(folder, make_tar_gz):
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return make_tar_gz(files)


def test_download_unpacks_the_archive_once(tmp_path, faces, serve, make_tar_gz, monkeypatch):
    unpack(tmp_path / "made" / "lfw_funneled", faces)
    data = archive_of(tmp_path / "made", make_tar_gz)
    url = serve("5976015", data)
    monkeypatch.setitem(lfw.ARCHIVES, "funneled", (url, f"sha256:{hashlib.sha256(data).hexdigest()}"))
    assert len(load(tmp_path / "data", download=True)) == 19
    assert (tmp_path / "data" / "lfw_home" / "lfw_funneled" / "Zico" / "Zico_0001.jpg").is_file()
    monkeypatch.setitem(lfw.ARCHIVES, "funneled", ("http://127.0.0.1:9/none", "sha256:0"))
    assert len(load(tmp_path / "data", download=True)) == 19


def test_an_archive_with_another_hash_is_not_unpacked(tmp_path, faces, serve, make_tar_gz, monkeypatch):
    url = serve("5976015", make_tar_gz({"lfw_funneled/Zico/Zico_0001.jpg": b"another"}))
    monkeypatch.setitem(lfw.ARCHIVES, "funneled", (url, "sha256:" + "0" * 64))
    with pytest.raises(ValueError, match=r"data.download: http.*5976015 has sha256 [0-9a-f]{64}, expected 0000"):
        load(tmp_path / "data", download=True)
    assert list((tmp_path / "data" / "lfw_home").iterdir()) == []


def test_what_lies_where_an_archive_unpacks_is_named_and_left_alone(tmp_path, serve, make_tar_gz, monkeypatch):
    data = make_tar_gz({"other/x": b"x"})
    monkeypatch.setitem(lfw.ARCHIVES, "funneled", (serve("a", data), f"sha256:{hashlib.sha256(data).hexdigest()}"))
    there = tmp_path / "data" / "lfw_home" / "other" / "mine"
    there.parent.mkdir(parents=True)
    there.write_text("kept")
    with pytest.raises(ValueError, match=r"^data.download: .*other is there already; remove it to fetch it anew$"):
        load(tmp_path / "data", download=True)
    assert there.read_text() == "kept"


def test_an_archive_that_reaches_outside_its_folder_is_refused(tmp_path, serve, make_tar_gz, monkeypatch):
    data = make_tar_gz({"../../escaped": b"x"})
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    monkeypatch.setitem(lfw.ARCHIVES, "funneled", (serve("a", data), digest))
    with pytest.raises(ValueError, match=r"data.download: .*outside"):
        load(tmp_path / "data", download=True)
    assert not list(tmp_path.rglob("escaped"))


def test_a_server_that_is_not_there_is_named(tmp_path, serve, monkeypatch):
    url = serve("there", b"").replace("there", "gone")
    monkeypatch.setitem(lfw.ARCHIVES, "original", (url, "sha256:0"))
    with pytest.raises(ValueError, match=r"data.download: http.*gone: .*404"):
        load(tmp_path / "data", download=True, alignment="original")
    with pytest.raises(ValueError, match=r"deepfunneled faces cannot be downloaded; get them from https"):
        load(tmp_path / "data", download=True, alignment="deepfunneled")
