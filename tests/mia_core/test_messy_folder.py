"""Image files as people have them: each gives the right pixels, or one reason with the way out."""

import io
import json
import unicodedata

import numpy as np
import pytest
from PIL import Image

from mia_core.data import SOURCES, cache, decoding, images, load_named, load_pool
from mia_core.data.decoding import Reading
from mia_core.data.description import described
from mia_core.hashing import content_id

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca\n"
ANNEX = "/annex/objects/MD5E-s123--d41d8cd98f00b204e9800998ecf8427e.png\n"
DICOM = bytes(128) + b"DICM" + bytes(20)


def noise(*shape, seed=0, high=256, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)


def decode(path, channels=1, page=0, size=8, **settings):
    return decoding.decode(path, page, Reading(size, channels, **settings))


def reason(path, **settings):
    with pytest.raises(ValueError) as error:
        decode(path, **settings)
    return str(error.value)


def choose(root, **settings):
    return SOURCES.choose({"name": "image_folder", "root": str(root), "size": 8, "channels": 1, **settings})


def load(root, **settings):
    return load_pool(choose(root, **settings))


def windowed(values, low, high):
    """By the formula, in exact arithmetic."""
    return np.floor((values.astype(float).clip(low, high) - low) * 255 / (high - low) + 0.5).astype(np.uint8)


DEEP = {
    "unsigned.png": noise(8, 8, high=4096, dtype=np.uint16),
    "unsigned.tif": noise(8, 8, high=4096, dtype=np.uint16),
    "hounsfield.tif": noise(8, 8, high=3000, dtype=np.int32) - 1000,
    "float.tif": noise(8, 8, high=4096, dtype=np.float32) / 2,
    "unsigned.pgm": noise(8, 8, high=4096, dtype=np.uint16),
}


@pytest.mark.parametrize("name", DEEP)
@pytest.mark.parametrize("window", [(0.0, 4095.0), (100.0, 1000.0), (-500.0, 500.0)], ids=str)
def test_more_than_8_bits_are_read_by_an_explicit_window(tmp_path, name, window):
    values = DEEP[name]
    Image.fromarray(values).save(tmp_path / name)
    found = decode(tmp_path / name, window=window)
    assert np.abs(found.pixels[0].astype(int) - windowed(values, *window)).max() <= 1  # a half may go either way
    assert found.windowed
    assert f"(values {values.min():g} to {values.max():g}); data.window=[black,white]" in reason(tmp_path / name)


def test_a_pgm_of_12_bits_is_windowed_in_its_own_values(tmp_path):
    values = np.arange(64).reshape(8, 8) * 65
    (tmp_path / "a.pgm").write_bytes(b"P5 8 8 4095\n" + values.astype(">u2").tobytes())
    assert np.array_equal(decode(tmp_path / "a.pgm", window=(0.0, 4095.0)).pixels[0], windowed(values, 0, 4095))


def test_a_deep_tiff_whose_zero_is_white_is_not_shown_as_its_negative(tmp_path):
    values = noise(8, 8, high=65536, dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.tif", tiffinfo={262: 0})
    found = decode(tmp_path / "a.tif", window=(0.0, 65535.0)).pixels[0]
    assert np.array_equal(found, 255 - windowed(values, 0, 65535))


def test_pixels_that_are_no_numbers_are_refused(tmp_path):
    Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(tmp_path / "a.tif")
    assert reason(tmp_path / "a.tif", window=(0.0, 1.0)) == "has pixels that are no numbers"


@pytest.mark.parametrize("window", [[5, 5], [9, 1], [1], "0-255", [0, float("inf")]])
def test_a_window_that_is_none_is_refused(tmp_path, window):
    with pytest.raises(ValueError, match="window"):
        choose(tmp_path, window=window)


def test_a_window_changes_no_image_of_8_bits_and_how_many_have_more_is_said(tmp_path):
    Image.fromarray(noise(8, 8)).save(tmp_path / "a.png")
    Image.fromarray(noise(8, 8, seed=1).astype(np.uint16) * 16).save(tmp_path / "b.png")
    pool = load(tmp_path, window=[0, 4095])
    assert np.array_equal(pool.images[0, 0], noise(8, 8))
    assert np.array_equal(pool.images[1, 0], windowed(noise(8, 8, seed=1).astype(int) * 16, 0, 4095))
    assert pool.from_files.windowed == 1
    assert load(tmp_path, window=[0, 1000]).digest != pool.digest  # another window is another pool, not the cached one


def test_what_lies_outside_of_the_window_is_counted_at_either_end(tmp_path):
    dark, bright = np.full((8, 8), 500, np.uint16), np.full((8, 8), 500, np.uint16)
    dark[0, :2] = 99  # two below
    bright[0, :4] = 1001  # four above
    dark[1, 0], bright[1, 0] = 100, 1000  # at the ends: black and white, and not clipped
    for name, values in {"dark": dark, "bright": bright, "plain": np.full((8, 8), 300, np.uint16)}.items():
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    pool = load(tmp_path, window=[100, 1000])
    assert described(pool)["clipped"] == (
        "1 % of the pixels lie below the window, and are black, in 1 image; "
        "2.1 % of the pixels lie above it, and are white, in 1 image"
    )
    again = load(tmp_path, window=[100, 1000])  # from the cache
    assert described(again)["clipped"] == described(pool)["clipped"]
    assert described(load(tmp_path, window=[0, 1001]))["clipped"] == "none: the window holds all values"


def test_a_pool_of_an_earlier_version_that_did_not_count_what_a_window_clipped_is_decoded_again(
    tmp_path, cache_of_test
):
    Image.fromarray(np.full((8, 8), 5000, np.uint16)).save(tmp_path / "a.png")
    load(tmp_path, window=[0, 4095])
    (folder,) = cache_of_test.iterdir()
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    counted = ("windowed_pixels", "clipped_below", "clipped_above", "pixels_below", "pixels_above")
    manifest["from_files"] = {key: n for key, n in manifest["from_files"].items() if key not in counted}
    before = {key: value for key, value in manifest.items() if key != "check"} | {"reads": 2}
    path.write_text(json.dumps({**before, "check": content_id(before)}))
    assert load(tmp_path, window=[0, 4095]).from_files.clipped_above == 1


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_opaque_alpha_channel_costs_nothing(tmp_path, mode):
    pixels = noise(8, 8, 4 if mode == "RGBA" else 2)
    pixels[..., -1] = 255
    Image.fromarray(pixels, mode).save(tmp_path / "a.png")
    expected = pixels[..., :3].transpose(2, 0, 1) if mode == "RGBA" else np.repeat(pixels[None, ..., 0], 3, axis=0)
    assert np.array_equal(decode(tmp_path / "a.png", 3).pixels, expected)


def test_a_palette_or_color_key_that_no_pixel_uses_is_opaque(tmp_path):
    gray = noise(8, 8) // 2
    Image.fromarray(gray).save(tmp_path / "key.png", transparency=255)
    assert np.array_equal(decode(tmp_path / "key.png").pixels[0], gray)
    palette = Image.fromarray(gray % 4, "P")
    palette.putpalette(np.repeat(np.arange(8, dtype=np.uint8) * 30, 3).tobytes())
    palette.save(tmp_path / "palette.png", transparency=7)
    assert np.array_equal(decode(tmp_path / "palette.png").pixels[0], gray % 4 * 30)


def test_real_transparency_is_refused_or_put_on_the_color_that_is_said(tmp_path):
    pixels = np.full((8, 8, 4), (200, 200, 200, 255), np.uint8)
    pixels[:4, :, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert (
        reason(tmp_path / "a.png")
        == "has transparency (50 % of its pixels); data.transparency=black or white puts it on that"
    )
    Image.fromarray(np.zeros((8, 8, 4), np.uint8)).save(tmp_path / "b.png")
    assert reason(tmp_path / "b.png").startswith("has transparency (100 % of its pixels)")
    for color, value in {"black": 0, "white": 255}.items():
        found = decode(tmp_path / "a.png", transparency=color).pixels[0]
        assert (found[:4] == value).all() and (found[4:] == 200).all()
    with pytest.raises(ValueError, match=r"transparency: .*'refuse', 'black' or 'white'"):
        choose(tmp_path, transparency="pink")


def stack(path, count):
    pages = [Image.fromarray(noise(8, 8, seed=seed)) for seed in range(count)]
    pages[0].save(path, save_all=True, append_images=pages[1:])


def test_pages_are_refused_or_the_first_or_all_of_them_which_stay_together(tmp_path):
    stack(tmp_path / "a.tif", 3)
    Image.fromarray(noise(8, 8, seed=9)).save(tmp_path / "b.png")
    with pytest.raises(
        ValueError, match=r"1 records .*: a.tif: has 3 frames, or pages; data.pages=first .* data.pages=all"
    ):
        load(tmp_path)
    first = load(tmp_path, pages="first")
    assert [np.array_equal(image[0], noise(8, 8, seed=s)) for image, s in zip(first.images, (0, 9), strict=True)] == [
        True
    ] * 2
    every = load_named(choose(tmp_path, pages="all"))
    assert all(np.array_equal(every.pool.images[i, 0], noise(8, 8, seed=s)) for i, s in enumerate((0, 1, 2, 9)))
    assert every.pool.groups.tolist() == [0, 0, 0, 1]
    assert list(every.records) == ["a.tif, page 1", "a.tif, page 2", "a.tif, page 3", "b.png"]
    assert len({load(tmp_path, pages=pages).digest for pages in ("first", "all")}) == 2


def with_exif(path, exif, pixels):
    Image.fromarray(pixels).save(path, quality=95, exif=exif)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\x7f"], ids=repr
)
def test_exif_that_cannot_be_read_costs_the_orientation_and_not_the_image(tmp_path, exif):
    with_exif(tmp_path / "bad.jpg", exif, noise(8, 8))
    Image.fromarray(noise(8, 8)).save(tmp_path / "good.jpg", quality=95)
    assert np.array_equal(decode(tmp_path / "bad.jpg").pixels, decode(tmp_path / "good.jpg").pixels)


def test_how_many_orientations_are_not_known_is_said(tmp_path):
    with_exif(tmp_path / "bad.jpg", b"Exif\0\0garbage", noise(8, 8))
    Image.fromarray(noise(8, 8)).save(tmp_path / "good.png")
    assert load(tmp_path).from_files.unoriented == 1


DISGUISED = {
    "lfs.png": (LFS.encode(), "is a Git-LFS pointer, and not the file itself; fetch it with git lfs pull"),
    "annex.png": (ANNEX.encode(), "is a git-annex pointer"),
    "login.jpg": (b"\n<!DOCTYPE html><html><title>Log in</title>", "is a web page (HTML), and no image; download"),
    "page.jpg": (b"\xef\xbb\xbf<html>", "is a web page (HTML)"),
    "scan.png": (DICOM, "is DICOM, which is not read here; export it as PNG or TIFF"),
    "phone.jpg": (b"\0\0\0\x18ftypheic\0\0\0\0", "is HEIC, which is not read here; convert it to PNG"),
    "paper.png": (b"%PDF-1.7", "is a PDF"),
    "packed.png": (b"PK\x03\x04....", "is a ZIP archive"),
}


@pytest.mark.parametrize("name", DISGUISED)
def test_what_is_no_image_is_named_as_what_it_is(tmp_path, name):
    content, words = DISGUISED[name]
    (tmp_path / name).write_bytes(content)
    assert reason(tmp_path / name).startswith(words)


def test_images_that_are_not_read_are_refused_by_count_and_files_that_are_none_are_noted(tmp_path):
    for name in ("a.png", "b ä.jfif", ".hidden.png"):
        Image.fromarray(noise(8, 8, seed=len(name))).save(tmp_path / name, "JPEG" if "jfif" in name else "PNG")
    for name in ("Thumbs.db", "desktop.ini", "LICENSE", "notes.txt", "labels.xlsx"):
        (tmp_path / name).write_bytes(b"words")
    pool = load(tmp_path)
    assert len(pool) == 2
    assert pool.notes == (f"5 files of {tmp_path} are no images, e.g. LICENSE",)
    (tmp_path / "IM0001").write_bytes(DICOM)
    (tmp_path / "c.dcm").write_bytes(DICOM)
    (tmp_path / "d.nii.gz").write_bytes(b"\x1f\x8b")
    (tmp_path / "e").write_bytes((tmp_path / "a.png").read_bytes())
    message = r"4 records of .*: 2 like IM0001: is DICOM.*; d.nii.gz: is a volume.*; e: is a PNG image .*; mend .*skip"
    with pytest.raises(ValueError, match=message):
        load(tmp_path)
    left_out = load_named(choose(tmp_path, on_unreadable="skip")).left_out
    assert left_out[-1] == "e: is a PNG image without its suffix; rename it to end in .png"


def test_cropping_and_enlarging_are_counted(tmp_path):
    for name, shape in {"a": (8, 8), "b": (8, 16), "c": (100, 60), "d": (4, 4)}.items():
        Image.fromarray(noise(*shape)).save(tmp_path / f"{name}.png")
    seen = load(tmp_path).from_files
    assert (seen.cropped, seen.most_cut, seen.enlarged, seen.smallest) == (2, 0.5, 1, 4)


def test_a_large_jpeg_that_is_decoded_at_a_fraction_is_not_said_to_be_enlarged_or_square(tmp_path):
    Image.fromarray(noise(640, 320)).save(tmp_path / "a.jpg")
    seen = load(tmp_path).from_files
    assert (seen.cropped, seen.most_cut, seen.enlarged, seen.smallest) == (1, 0.5, 0, 320)


def plain_folder(root):
    """Images that were always read, in formats without loss."""
    for number in range(12):
        folder = root / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = noise(20 + number, 30 - number, 3, seed=number)
        image = Image.fromarray(pixels if number % 3 else pixels[..., 0])
        image.save(folder / f"{number}.{('png', 'bmp', 'tif')[number % 3]}")
    lines = [
        f"{file.relative_to(root).as_posix()},{n % 3},p{n // 2}" for n, file in enumerate(sorted(root.rglob("*.*")))
    ]
    (root / "t.csv").write_text("\n".join(["file,label,patient", *lines]))


@pytest.mark.parametrize(
    ("settings", "digest"),
    [
        ({}, "5fb4faa551765bdcbbd1194ff095e59382157c10efc05f8ca78d3618dea765b9"),
        (
            {"labels": "t.csv", "group_column": "patient"},
            "bbf1e0d9db18d5c2ba75f9bf1b492e8e39f034f5c8cfe032cd67f2affa04d0e9",
        ),
        (
            {"size": 24, "channels": 3, "fraction": 0.5},
            "268e5f2de3e11a5ecff38dc42132a0fd6777af431b3f606e526ca8846fb9e19a",
        ),
    ],
    ids=["plain", "table", "color"],
)
def test_pools_of_images_that_were_always_read_are_what_they_were(tmp_path, settings, digest):
    plain_folder(tmp_path)
    assert load(tmp_path, **settings).digest == digest


def earlier(folder):
    """What an earlier version had written in a cache."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    kept = {key: manifest[key] for key in ("name", "digest", "files", "odd")}
    path.write_text(json.dumps({**kept, "check": cache.content_id(kept)}))


def test_caches_of_earlier_versions_are_used_unless_they_left_out_what_is_read_today(
    tmp_path, cache_of_test, monkeypatch
):
    Image.fromarray(noise(8, 8)).save(tmp_path / "a.png")
    first = load(tmp_path)
    (folder,) = cache_of_test.iterdir()
    earlier(folder)
    with monkeypatch.context() as patch:
        patch.setattr(images, "decode_all", None)
        again = load(tmp_path)
    assert again.digest == first.digest and again.from_files is None
    (tmp_path / "b.png").touch()
    load(tmp_path, on_unreadable="skip")
    (other,) = set(cache_of_test.iterdir()) - {folder}
    earlier(other)
    assert load(tmp_path, on_unreadable="skip").from_files is not None


def table(root, rows, encoding="utf-8", name="t.csv"):
    (root / name).write_bytes("\n".join(rows).encode(encoding))


def numbered(root, names):
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(path)


def labelled(root, **settings):
    pool = load(root, labels="t.csv", **settings)
    return dict(zip(pool.images[:, 0, 0, 0].tolist(), pool.labels.tolist(), strict=True))


NFD = unicodedata.normalize("NFD", "müller.png")
SPELLED = {
    "a b.png": "  a b.png ",
    "no break.png": "no\u00a0break.png",
    NFD: unicodedata.normalize("NFC", NFD),
    unicodedata.normalize("NFC", "ä.png"): unicodedata.normalize("NFD", "ä.png"),
    "x/windows.png": r"x\windows.png",
    "x/dot.png": "./x/dot.png",
    "x/bare.png": "x/bare",
    "marked.png": "\ufeffmarked.png",
}


@pytest.mark.parametrize("file", SPELLED, ids=lambda name: ascii(name))
def test_a_file_is_found_by_a_name_that_differs_by_what_no_screen_shows(tmp_path, file):
    numbered(tmp_path, ["other.png", file])
    table(tmp_path, ["file,label", "other.png,0", f"{SPELLED[file]},1"])
    assert labelled(tmp_path) == {0: 0, 1: 1}


NEAR = {
    "img_01.png": "img_1.png",
    "IMG.png": "img.png",
    "a.jpg": "a.png",
    "deep/c.png": "c.png",
    "12.png": "12.0",
}


@pytest.mark.parametrize("file", NEAR)
def test_a_name_that_may_mean_a_file_is_refused_with_that_file(tmp_path, file):
    numbered(tmp_path, [file, "other.png"])
    table(tmp_path, ["file,label", f"{NEAR[file]},1", "other.png,0"])
    with pytest.raises(
        ValueError, match=rf"1 images or labels .*: {NEAR[file]}: in t.csv, but not there; is {file} meant; mend"
    ):
        load(tmp_path, labels="t.csv")


def test_a_bare_name_of_two_files_is_refused_and_names_without_suffixes_are_said(tmp_path):
    numbered(tmp_path, ["a.png", "b.png", "b.bmp"])
    table(tmp_path, ["file,label", "a,1"])
    pool = load(tmp_path, labels="t.csv", on_unmatched="skip")
    assert "1 rows of t.csv name their file without its suffix" in pool.notes
    table(tmp_path, ["file,label", "a,1", "b,1"])
    with pytest.raises(ValueError, match=r"b: in t.csv, but not there; is b.bmp meant \(or 1 more\)"):
        load(tmp_path, labels="t.csv")


def test_two_files_whose_names_differ_by_unicode_form_alone_are_each_found_by_its_own(tmp_path):
    names = [unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD")]
    numbered(tmp_path, names)
    table(tmp_path, ["file,label", f"{names[0]},0", f"{names[1]},1"])
    assert labelled(tmp_path) == {0: 0, 1: 1}


@pytest.mark.parametrize("other", ["P07 ", " P07", "P07\u200b", "P07\u00a0"], ids=ascii)
def test_one_person_in_spellings_that_look_the_same_is_one_group(tmp_path, other):
    numbered(tmp_path, ["a.png", "b.png", "c.png"])
    table(tmp_path, ["file,label,p", "a.png,0,P07", f"b.png,0,{other}", "c.png,0,P08"])
    assert load(tmp_path, labels="t.csv", group_column="p").groups.tolist() == [0, 0, 1]


@pytest.mark.parametrize("other", ["P7", "p07", "P 07", "Ｐ07"], ids=ascii)
def test_persons_that_differ_by_spelling_alone_are_refused_with_both(tmp_path, other):
    numbered(tmp_path, ["a.png", "b.png"])
    table(tmp_path, ["file,label,p", "a.png,0,P07", f"b.png,0,{other}"])
    with pytest.raises(
        ValueError, match=r"t.csv has the groups '.*' and '.*', which differ by spelling alone; one person"
    ):
        load(tmp_path, labels="t.csv", group_column="p")


def test_persons_as_numbers_that_a_spreadsheet_made_decimal_are_refused(tmp_path):
    numbered(tmp_path, ["a.png", "b.png"])
    table(tmp_path, ["file,label,p", "a.png,0,7", "b.png,0,7.0"])
    with pytest.raises(ValueError, match=r"the groups '7' and '7.0'"):
        load(tmp_path, labels="t.csv", group_column="p")


def test_folders_of_one_person_in_two_unicode_forms_are_one_group_and_in_two_cases_refused(tmp_path):
    forms = [unicodedata.normalize(form, "Müller") for form in ("NFC", "NFD")]
    numbered(tmp_path, [f"{forms[0]}/a.png", f"{forms[1]}/b.png", "Zoe/c.png"])
    assert sorted(load(tmp_path, group_folders=True).groups.tolist()) == [0, 0, 1]
    numbered(tmp_path, ["zoe/d.png"])
    with pytest.raises(ValueError, match=r"data\.group_folders: the folder has the groups 'Zoe' and 'zoe'"):
        load(tmp_path, group_folders=True)


def test_images_of_persons_whom_nobody_knows_are_said_to_count_as_one(tmp_path):
    numbered(tmp_path, ["a.png", "b.png", "c.png", "d.png"])
    table(tmp_path, ["file,label,p", "a.png,0,N/A", "b.png,0,N/A", "c.png,0,P1", "d.png,0,?"])
    pool = load(tmp_path, labels="t.csv", group_column="p")
    assert [note for note in pool.notes if "group" in note] == [
        "2 images have the group 'N/A', and count as one person"
    ]


def test_classes_that_differ_by_spelling_alone_are_two_and_that_is_said(tmp_path):
    numbered(tmp_path, ["A/1.png", "a/2.png"])
    pool = load(tmp_path)
    assert pool.labels.tolist() == [0, 1]
    assert "the classes 'A' and 'a' differ by spelling alone, and are two" in pool.notes


def test_a_table_may_have_persons_and_no_labels(tmp_path):
    numbered(tmp_path, ["a.png", "b.png"])
    table(tmp_path, ["file,p", "a.png,x", "b.png,y"])
    pool = load(tmp_path, labels="t.csv", group_column="p", label_column=None)
    assert pool.labels.tolist() == [0, 0] and pool.groups.tolist() == [0, 1]


def test_a_sheet_shows_each_class_in_a_row(tmp_path):
    from mia_core.data.contact_sheet import CELL, GAP, contact_sheet

    numbered(tmp_path, ["a/1.png", "b/2.png", "b/3.png"])
    sheet = np.asarray(Image.open(io.BytesIO(contact_sheet(load(tmp_path)))))
    assert sheet.shape == (2 * (CELL + GAP) + GAP, 2 * (CELL + GAP) + GAP)
    middles = [
        [sheet[GAP + CELL // 2 + y * (CELL + GAP), GAP + CELL // 2 + x * (CELL + GAP)] for x in (0, 1)] for y in (0, 1)
    ]
    assert middles == [[0, 128], [1, 2]]
