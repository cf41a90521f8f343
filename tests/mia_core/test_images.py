import json
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mia_core.data import SOURCES, cache, decoding, images, load_pool
from mia_core.data.decoding import Decoded, Reading


def save(path, array, mode=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array, mode).save(path, **options) if mode else Image.fromarray(array).save(path, **options)
    return path


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def decode(path, size, channels, **settings):
    return decoding.decode(path, 0, Reading(size, channels, **settings)).pixels


def load(root, **settings):
    return load_pool(SOURCES.choose({"name": "image_folder", "root": str(root), "size": 8, **settings}))


def bomb(width, height, depth=8):
    """A PNG of 60 bytes whose header claims any size."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_an_image_of_the_wanted_size_keeps_its_pixels(tmp_path):
    color, gray = noise(8, 8, 3), noise(8, 8)
    assert np.array_equal(decode(save(tmp_path / "c.png", color), 8, 3), color.transpose(2, 0, 1))
    assert np.array_equal(decode(save(tmp_path / "g.png", gray), 8, 1), gray[None])
    assert np.array_equal(decode(tmp_path / "g.png", 8, 3), np.repeat(gray[None], 3, axis=0))


@pytest.mark.parametrize("shape", [(8, 20), (20, 8)], ids=str)
def test_the_central_square_is_used(tmp_path, shape):
    array = noise(*shape)
    square = array[:, 6:14] if shape[1] > 8 else array[6:14]
    assert np.array_equal(decode(save(tmp_path / "a.png", array), 8, 1)[0], square)


def test_shrinking_averages_areas(tmp_path):
    # A one-pixel checkerboard is gray from afar; picking every fourth pixel would give black or white.
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    small = decode(save(tmp_path / "a.png", board), 16, 1)
    assert abs(small[0, 2:-2, 2:-2].astype(int) - 127).max() < 8


def test_a_large_jpeg_decoded_at_a_fraction_of_its_size_is_the_same_picture(tmp_path):
    x, y = np.meshgrid(np.linspace(0, 255, 640), np.linspace(0, 255, 640))
    picture = np.stack([x, y, 255 - x], axis=2).astype(np.uint8)
    small = decode(save(tmp_path / "a.jpg", picture, quality=95), 16, 3).astype(int)
    expected = picture.reshape(16, 40, 16, 40, 3).mean((1, 3)).transpose(2, 0, 1)
    assert abs(small - expected)[:, 1:-1, 1:-1].max() < 4


def test_a_photograph_taken_sideways_is_turned(tmp_path):
    array = noise(8, 8)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 270 degrees to show
    path = save(tmp_path / "a.png", array, exif=exif)
    assert np.array_equal(decode(path, 8, 1)[0], np.rot90(array, -1))


def broken(folder):
    """Every kind of file that cannot be used, by name."""
    good = noise(40, 40, 3)
    save(folder / "truncated.jpg", good)
    save(folder / "truncated.png", good)
    for name in ("truncated.jpg", "truncated.png"):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])
    (folder / "empty.png").touch()
    (folder / "text.jpg").write_text("not an image")
    (folder / "bomb.png").write_bytes(bomb(9000, 9000))
    (folder / "greater_bomb.png").write_bytes(bomb(60_000, 60_000))
    (folder / "postscript.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")
    save(folder / "alpha.png", noise(9, 9, 4))
    Image.fromarray(noise(9, 9, 4), "CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(noise(9, 9).astype(np.uint16) * 255).save(folder / "deep.png")
    Image.fromarray(noise(9, 9).astype(np.float32)).save(folder / "float.tif")
    (folder / "deep_color.png").write_bytes(bomb(9, 9, depth=16))
    (folder / "deep_color.ppm").write_bytes(b"P6 9 9 65535\n" + noise(9, 9, 3, 2).tobytes())
    os.mkfifo(folder / "pipe.png")
    (folder / "nowhere.png").symlink_to(folder / "gone")
    palette = Image.fromarray(noise(9, 9) // 32, "P")
    palette.putpalette(bytes(range(24)))
    palette.save(folder / "palette.png", transparency=3)
    frames = [Image.fromarray(noise(9, 9, seed=seed)) for seed in range(3)]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])


REASONS = {
    "truncated.jpg": "cannot be decoded: ",
    "truncated.png": "cannot be decoded: ",
    "empty.png": "empty file",
    "text.jpg": "no image of a known format",
    "bomb.png": "9000 x 9000 pixels, more than 80 million",
    "greater_bomb.png": "exceeds limit",
    "postscript.png": "no image of a known format",
    "alpha.png": "has transparency",
    "cmyk.jpg": "has mode CMYK, not gray or RGB",
    "deep.png": "has more than 8 bits (values ",
    "float.tif": "has more than 8 bits (values ",
    "deep_color.png": "has more than 8 bits a channel",
    "deep_color.ppm": "has more than 8 bits a channel",
    "pipe.png": "no regular file",
    "nowhere.png": "cannot be decoded: No such file or directory",
    "palette.png": "has transparency",
    "animated.gif": "has 3 frames",
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_each_odd_image_is_refused_with_its_reason(tmp_path):
    broken(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(REASONS)
    for name, reason in REASONS.items():
        with pytest.raises(ValueError) as error:
            decode(tmp_path / name, 8, 3)
        assert reason in str(error.value), name
        assert "\n" not in str(error.value)
        assert str(tmp_path) not in str(error.value)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_folder_of_odd_images_and_a_good_one_gives_the_good_one_and_all_reasons(tmp_path):
    broken(tmp_path)
    save(tmp_path / "good.png", noise(8, 8, 3))
    pool = load(tmp_path, on_unreadable="skip")
    assert np.array_equal(pool.images[0], noise(8, 8, 3).transpose(2, 0, 1))
    assert [line.split(": ")[1] for line in pool.notes] == sorted(REASONS)


def test_decoding_keeps_the_order_of_files_and_puts_reasons_in_place(tmp_path):
    arrays = [noise(8, 8, seed=seed) for seed in range(600)]
    paths = [save(tmp_path / f"{number}.png", array) for number, array in enumerate(arrays)]
    paths[300].write_bytes(b"")
    found = list(decoding.decode_all([(path, 0) for path in paths], Reading(8, 1)))
    assert found[300] == "empty file"
    assert all(np.array_equal(found[i].pixels[0], arrays[i]) for i in range(600) if i != 300)


def people(folder, count=6):
    for number in range(count):
        save(folder / f"{number % 2}" / f"{number}.png", noise(8, 8, 3, seed=number))


def test_odd_images_are_refused_by_reason_with_an_example_each_and_left_out_on_request(tmp_path):
    people(tmp_path / "pictures")
    for name in ("c", "d", "e", "f"):
        (tmp_path / "pictures" / "1" / f"{name}.png").touch()
    (tmp_path / "pictures" / "1" / "a.png").write_bytes(b"words")
    message = (
        r"5 records of .* cannot be used: 4 like 1/c.png: empty file; 1/a.png: no image of a known format; mend .*skip"
    )
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "pictures")
    pool = load(tmp_path / "pictures", on_unreadable="skip")
    assert pool.images.shape == (6, 3, 8, 8)
    assert pool.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert pool.notes[1] == "left out: 1/c.png: empty file"
    assert len(pool.notes) == 5


def test_reasons_that_differ_by_their_numbers_alone_are_counted_as_one_and_the_rest_by_number():
    odd = [f"{n}.png: has transparency ({n} % of its pixels); put it on black" for n in range(3)]
    odd += [f"d{n}.png: {reason}" for n, reason in enumerate(("empty file", "no pixels", "a pipe", "a link", "a door"))]
    told = "3 like 0.png: has transparency (0 % of its pixels); put it on black; d0.png: empty file; d1.png: no pixels"
    assert images.in_words(odd) == f": {told}; d2.png: a pipe; d3.png: a link; and 1 more for other reasons"
    assert images.in_words([]) == ""


def test_what_was_left_out_is_known_from_the_cache_and_still_refused_without_skip(tmp_path, monkeypatch):
    people(tmp_path / "pictures")
    (tmp_path / "pictures" / "1" / "a.png").touch()
    first = load(tmp_path / "pictures", on_unreadable="skip")
    monkeypatch.setattr(images, "decode_all", None)
    assert load(tmp_path / "pictures", on_unreadable="skip").notes == first.notes
    with pytest.raises(ValueError, match="1 records"):
        load(tmp_path / "pictures")


def test_a_folder_without_a_usable_image_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no usable image in"):
        load(tmp_path)
    (tmp_path / "a.png").touch()
    with pytest.raises(ValueError, match=r"no image of .* can be used: a.png: empty file"):
        load(tmp_path, on_unreadable="skip")


def test_images_are_decoded_once_and_mapped_afterwards(tmp_path, monkeypatch):
    people(tmp_path / "pictures")
    first = load(tmp_path / "pictures")
    monkeypatch.setattr(images, "decode_all", None)
    again = load(tmp_path / "pictures")
    assert type(again.images) is np.ndarray  # a numpy.memmap would be copied when it is sent to a worker
    assert isinstance(again.images.base, np.memmap)
    assert not again.images.flags.writeable
    assert again.digest == first.digest


@pytest.mark.parametrize("change", ["content", "name", "label", "size", "channels"])
def test_a_changed_data_set_is_decoded_again(tmp_path, change, cache_of_test):
    people(tmp_path / "pictures")
    first = load(tmp_path / "pictures")
    place = tmp_path / "pictures" / "0"
    settings = {"size": {"size": 9}, "channels": {"channels": 1}}.get(change, {})
    if change == "content":
        save(place / "0.png", noise(8, 8, 3, seed=99))
    elif change == "name":
        (place / "0.png").rename(place / "9.png")
    elif change == "label":
        (place / "0.png").rename(tmp_path / "pictures" / "1" / "0.png")
    pool = load(tmp_path / "pictures", **settings)
    assert pool.digest != first.digest
    folders = list(cache_of_test.iterdir())
    assert len(folders) == 2
    assert load(tmp_path / "pictures", **settings).digest == pool.digest


def test_data_sets_whose_files_have_the_same_names_sizes_and_times_are_told_apart(tmp_path):
    for shade in (10, 200):
        file = save(tmp_path / str(shade) / "0" / "0.bmp", np.full((8, 8, 3), shade, np.uint8))
        os.utime(file, (1e9, 1e9))
        assert load(tmp_path / str(shade)).images.mean() == shade
    replaced = save(tmp_path / "200" / "0" / "0.bmp", np.full((8, 8, 3), 90, np.uint8))
    os.utime(replaced, (1e9, 1e9))
    assert load(tmp_path / "200").images.mean() == 90


def test_a_link_to_a_folder_that_it_is_in_is_refused_and_others_are_followed(tmp_path):
    save(tmp_path / "elsewhere" / "0.png", noise(8, 8, 3))
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "linked").symlink_to(tmp_path / "elsewhere")
    assert len(load(tmp_path / "pictures")) == 1
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "pictures")
    with pytest.raises(ValueError, match=r"pictures/linked/back links to a folder that it is in|linked/back/linked"):
        load(tmp_path / "pictures")


def test_a_folder_that_cannot_be_read_is_refused_not_passed_over(tmp_path, monkeypatch):
    people(tmp_path)
    listed = os.listdir

    def guarded(path):
        if str(path).endswith("/1"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "listdir", guarded)  # the tests may run as root, whom no mode keeps out
    with pytest.raises(ValueError, match="/1 cannot be read: Permission denied"):
        load(tmp_path)


def flipped_places(size):
    return sorted({*range(0, size, max(1, size // 60)), size - 1})


def test_no_damage_to_any_cached_file_is_believed(tmp_path, cache_of_test):
    people(tmp_path / "pictures")
    (tmp_path / "pictures" / "0" / "x.png").touch()
    first = load(tmp_path / "pictures", on_unreadable="skip")
    (folder,) = cache_of_test.iterdir()
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        damaged = [whole[:length] for length in (0, 1, len(whole) // 2, len(whole) - 1)]
        for place in flipped_places(len(whole)):
            one = bytearray(whole)
            one[place] ^= 0x04
            damaged.append(bytes(one))
        refused = 0
        for data in damaged:
            path.write_bytes(data)
            found = cache.load(folder)
            refused += found is None
            assert found is None or (found[0].digest == first.digest and found[1] == ["0/x.png: empty file"])
        assert refused > len(damaged) / 2
        path.write_bytes(whole)
    assert cache.load(folder)[0].digest == first.digest


def test_a_damaged_cache_is_made_again(tmp_path, cache_of_test):
    people(tmp_path / "pictures")
    first = load(tmp_path / "pictures")
    (folder,) = cache_of_test.iterdir()
    (folder / "images.npy").write_bytes(b"gone")
    assert load(tmp_path / "pictures").digest == first.digest
    assert cache.load(folder)[0].digest == first.digest
    assert json.loads((folder / "manifest.json").read_text())["files"][0] == "0/0.png"


def test_an_interrupted_decoding_leaves_nothing_behind(tmp_path, monkeypatch, cache_of_test):
    people(tmp_path / "pictures")

    def stops(*arguments):
        yield Decoded(noise(3, 8, 8), 8, 8)
        raise KeyboardInterrupt

    monkeypatch.setattr(images, "decode_all", stops)
    with pytest.raises(KeyboardInterrupt):
        load(tmp_path / "pictures")
    assert list(cache_of_test.iterdir()) == []


def test_the_cache_is_where_it_is_wanted_and_its_owners_only(tmp_path, monkeypatch):
    people(tmp_path / "pictures")
    load(tmp_path / "pictures", cache=str(tmp_path / "mine"))
    made = [tmp_path / "mine", *(tmp_path / "mine").rglob("*")]
    assert {oct(path.stat().st_mode & 0o777) for path in made if path.is_dir()} == {"0o700"}
    assert {oct(path.stat().st_mode & 0o777) for path in made if path.is_file()} == {"0o600"}
    monkeypatch.delenv("MIA_STUDY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_folder(None) == tmp_path / "xdg" / "mia-study"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache.cache_folder(None) == tmp_path / "home" / ".cache" / "mia-study"


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    people(tmp_path / "pictures")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"data\.cache: .*file cannot be written: .*; name another folder"):
        load(tmp_path / "pictures", cache=str(tmp_path / "file"))


def test_a_fraction_is_drawn_by_its_seed_before_anything_is_decoded(tmp_path, monkeypatch):
    for number in range(40):
        save(tmp_path / "pictures" / f"{number:02}.png", np.full((8, 8, 3), number, dtype=np.uint8))
    opened, whole = [], decoding.decode
    monkeypatch.setattr(decoding, "decode", lambda path, *rest: opened.append(path) or whole(path, *rest))
    drawn = {seed: load(tmp_path / "pictures", fraction=0.25, seed=seed).images[:, 0, 0, 0].tolist() for seed in (0, 1)}
    assert len(opened) == 20
    assert [len(values) for values in drawn.values()] == [10, 10]
    assert drawn[0] != drawn[1]
    assert drawn[0] == sorted(drawn[0])
    assert load(tmp_path / "pictures", fraction=0.25, seed=0).images[:, 0, 0, 0].tolist() == drawn[0]
