"""What leaves the machine (pages, tables, pictures, public copies) names no record, place, host or person of it."""

import base64
import contextlib
import io
import json
import re
import shutil
import tempfile
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from analysis.notebooks import execution as notebooks
from analysis.study_data import load, short
from mia_core.data import load_pool
from study.design.design_rows import design_rows
from study.design.study_design import Design
from study.design.work import missing
from study.machine import versions
from study.plan import data_changes
from study.run import attack_row, trial_row
from study.run.runner import Runner
from study.store import Store, compact, exporting, read
from study.store.noise import GUESSABLE
from study.store.schema import from_parquet
from tests.commands import mia_study
from tests.small import small_spec

FULL = Path(__file__).parents[1] / "study" / "stores" / "format_2_full"

report = mia_study("report")
store_command = mia_study("store")

TELLING = ("secretplace", "lovelace", "ward7")
"""Parts of the names of folders, files, columns, people and hosts of the study that is made here."""
QUERIES, UNITS = 7310000, 8420000
"""Record and unit numbers of its scores begin here, so that no other number of a page looks like one."""
# The notebooks are run by the first test that reads their pages.
pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
LEAN = ("factors.train_size=[60]", "factors.epochs=[1]", "split.panel=60", "split.filler=fixed", "replicates=3",
        "attacks=[white_box]", "quality.measures=[kid]", "controls={nulls: 0, copycat: false, permutations: 99}",
        "factors.defense=[none, {name: dp_sgd, sigma: 1.0, clip: 1.0, delta: 1e-5}]")  # fmt: skip


@pytest.fixture(scope="session")
def telling(tmp_path_factory):
    """A study of people's images in a telling place, run on a host with a telling name; the folder it was run in."""
    home = tmp_path_factory.mktemp("secretplace") / "lovelace"
    images = load_pool(small_spec().data).images[:400]
    rows = ["file_ward7,diagnosis_ward7,patient_ward7"]
    for number, image in enumerate(images):
        path = home / "scans" / f"lovelace_{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(path)
        rows.append(f"{path.name},{number % 3},{number // 2 if number < 200 else number}")
    (home / "scans" / "lovelace.csv").write_text("\n".join(rows))
    data = {"name": "image_folder", "root": f"{home}/scans", "cache": f"{home}/cache", "labels": "lovelace.csv",
            "file_column": "file_ward7", "label_column": "diagnosis_ward7", "group_column": "patient_ward7",
            "size": 8, "channels": 1}  # fmt: skip
    spec = small_spec(f"data={json.dumps(data)}", *LEAN)
    design, store = Design(spec, load_pool(spec.data)), Store(home / "results", "small")
    about = {"git_commit": "abc", "host": "ward7", "versions": {**versions(), "node": "ward7", "cwd": str(home)}}
    store.publish(design.hash, spec.resolved, design_rows(design), about)
    data_changes.keep(store, design.pool)
    plain = attack_row._scores

    def numbered(trial, wanted, values, queries):
        far = replace(queries, number=queries.number + QUERIES, unit=queries.unit + UNITS)
        return plain(trial, wanted, values, far)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial_row.platform, "node", lambda: "ward7")
        patch.setattr(attack_row, "_scores", numbered)
        for works in missing(design, store).values():
            assert not any(sealed.failed for sealed in Runner(design, store).run(works))
    compact(store)
    store.save_failure(design.trials[0].trajectory_id, {"traceback": str(home)})
    for relative in ("progress.json", "checkpoints/x/1-a.safetensors", "reports/x.html"):
        store.place.write(relative, str(home).encode())
    return home


@pytest.fixture(scope="session")
def notebook_pages(telling):
    """The notebooks' pages by name, made without a flag; and `named`, the page of records made with one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(telling)
        assert mia_study("notebooks")(["results/small"]) == 0
        with notebooks.executing("results/small", True) as execute:
            document = execute(notebooks.FOLDER / f"{notebooks.RECORDS}.ipynb")
    pages = {path.name: path.read_text() for path in (telling / "results/small/reports").glob("0*.html")}
    return {**pages, "named": notebooks.to_page(document, "named")}


def written(folder, out):
    """Report and tables, by name."""
    with pytest.MonkeyPatch.context() as patch, io.StringIO() as said:
        assert report([folder, "--out", str(out / "report.html")]) == 0
        patch.setattr("sys.stdout", said)
        assert mia_study("tables")([folder]) == 0
        return {"report.html": (out / "report.html").read_text(), "tables": said.getvalue()}


@pytest.fixture(scope="session")
def other_pages(telling, tmp_path_factory):
    """Of the study, made in the folder above its results."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(telling)
        return written("results/small", tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="session")
def public_pages(public, tmp_path_factory):
    """Of the public copy, made elsewhere."""
    return written(public[0].uri, tmp_path_factory.mktemp("of_copy"))


@pytest.fixture(params=["notebook_pages", "other_pages", "public_pages"])
def pages(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def pictures(telling, tmp_path_factory):
    """Figures, by name."""
    out = tmp_path_factory.mktemp("figures")
    assert mia_study("figures")([str(telling / "results/small"), str(out)]) == 0
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.fixture(scope="session")
def public(telling, tmp_path_factory):
    """A public copy of it, and what the command said."""
    out = tmp_path_factory.mktemp("copies") / "small"
    with pytest.MonkeyPatch.context() as patch, io.StringIO() as said:
        patch.setattr("sys.stdout", said)
        assert store_command(["export", "--public", str(telling / "results/small"), str(out)]) == 0
        return Store.at(out), said.getvalue()


class Loads(HTMLParser):
    """What a page would load or run, and the heads of its tables."""

    def __init__(self, page):
        super().__init__()
        self.loaded, self.scripts, self.heads, self._head = [], 0, set(), False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self._head = tag == "th"
        self.scripts += tag in ("script", "iframe", "object", "embed", "base")
        self.loaded += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "poster", "action")]

    def handle_data(self, data):
        if self._head and data.strip():
            self.heads.add(data.strip())
        self._head = False


def readable(picture):
    """A picture's metadata, as text."""
    return str(Image.open(io.BytesIO(picture)).info)


def words_of(page):
    """A page without its embedded pictures, and with their metadata."""
    pictures = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", page)
    metadata = [readable(base64.b64decode(one)) for one in pictures]
    return " ".join([re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page), *metadata])


def numbers_of_records(text):
    """Numbers in a text that are of records or units of this study."""
    return re.findall(rf"(?<![\w.-])(?:{QUERIES // 10000}|{UNITS // 10000})\d{{4}}(?![\w.])", text)


@pytest.mark.long
def test_every_notebook_that_may_fit_had_something_to_show(notebook_pages):
    fitting = [path.stem for path in notebooks.FOLDER.glob("*.ipynb") if path.stem != "06_search"]
    assert notebook_pages.keys() == {*(f"{name}.html" for name in fitting), "named"}
    assert all("data:image/png;base64," in notebook_pages[f"{name}.html"] for name in fitting)


def test_a_page_loads_and_runs_nothing_from_elsewhere(pages):
    for name, page in pages.items():
        found = Loads(page)
        assert all(value.startswith(("#", "data:")) for value in found.loaded), name
        assert found.scripts == (name == "report.html")
        assert "https:" not in page and not re.findall(r"@import|url\((?!#)", page)
        assert name == "tables" or "default-src 'none'" in page


def test_no_record_is_named_unless_records_are_included(pages):
    for name, page in pages.items():
        heads = Loads(page).heads & {"query", "unit", "label", "member", "score", "record", "record of the pool"}
        if name == "named":
            assert len(set(numbers_of_records(page))) > 20
            assert heads == {"query", "unit", "label"}
        else:
            assert not numbers_of_records(words_of(page)), name
            assert heads <= ({"label"} if name.startswith("05") else set())  # of the table by class


def test_a_page_with_records_has_another_name(telling, tmp_path, monkeypatch, capsys):
    asked = []

    @contextlib.contextmanager
    def executing(study, include_records=False):
        asked.append(include_records)
        yield lambda path: nbformat.read(path, as_version=4)

    monkeypatch.setattr(notebooks, "executing", executing)
    monkeypatch.setattr(notebooks, "to_page", lambda document, title: title)
    monkeypatch.setattr(Store, "save_report", lambda store, name, page: (tmp_path / name).write_bytes(page))
    assert mia_study("notebooks")([str(telling / "results/small"), "--include-records"]) == 0
    assert all(asked)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"01_sensitivity.html", "05_records_at_risk_with_records.html"} <= names
    assert "05_records_at_risk.html" not in names


def test_no_page_or_table_tells_of_places_hosts_or_people(pages):
    for name, page in pages.items():
        text = words_of(page)
        for word in (*TELLING, f"{tempfile.gettempdir()}/", f"{Path.home()}/", str(Path(pd.__file__).parents[1])):
            assert word not in text, (name, word)


def test_no_picture_has_metadata_that_tells_of_anything(pictures):
    assert len(pictures) >= 8
    for name, picture in pictures.items():
        assert Image.open(io.BytesIO(picture)).info.keys() <= {"dpi"}, name


def test_a_page_has_the_outputs_of_its_cells_without_their_source_or_warnings():
    cell = nbformat.v4.new_code_cell("its_source")
    cell.outputs = [nbformat.v4.new_output("stream", name="stderr", text="/home/lovelace/x.py:1: Warning"),
                    nbformat.v4.new_output("stream", name="stdout", text="<b>said</b>")]  # fmt: skip
    page = notebooks.to_page(nbformat.v4.new_notebook(cells=[cell]), "a <title>")
    assert "lovelace" not in page and "its_source" not in page
    assert not Loads(page).scripts and Loads(page).loaded == ["data:,"] and "default-src 'none'" in page
    assert "&lt;b&gt;said&lt;/b&gt;" in page
    assert "a &lt;title&gt;" in page


def test_the_shown_python_works_where_the_page_says(telling, public, other_pages, public_pages, monkeypatch):
    for page, first, above, store in (
        (other_pages["report.html"], "results", telling, Store.at(telling / "results" / "small")),
        (public_pages["report.html"], "small", public[0].folder.parent, public[0]),
    ):
        assert re.findall(r"Run where <code>([^<]+)/</code> lies:", page) == [first]
        (line,) = re.findall(r"data = load\('([^']+)'\)", page)
        monkeypatch.chdir(above)
        assert (above / first).is_dir()
        assert load(line).folder == store.uri


def test_a_study_is_named_by_its_way_down_from_here_and_by_its_name_elsewhere(telling, monkeypatch):
    store = Store.at(telling / "results" / "small")
    monkeypatch.setenv("HOME", str(telling))
    told = {telling: "results/small", telling / "results": "small", store.folder: "small", telling / "scans": "small",
            Path("/"): "small", telling.parent: "small"}  # fmt: skip
    for here, name in told.items():
        monkeypatch.chdir(here)
        assert short(store) == name
    monkeypatch.delenv("HOME")
    monkeypatch.chdir(telling.parent)
    assert short(store) == "lovelace/results/small"


def test_a_bucket_is_named_as_it_is(monkeypatch):
    class InBucket:
        uri = "s3://bucket/results/small"

    assert short(InBucket()) == InBucket.uri


def content_of(path):
    """All that a file of a store says: a Parquet file's rows, columns and metadata too."""
    if path.suffix != ".parquet":
        return path.read_text()
    file = pq.ParquetFile(path)
    schema = file.schema_arrow
    assert not file.metadata.metadata.keys() - {b"ARROW:schema"}
    assert schema.metadata is None and not any(field.metadata for field in schema if field.metadata)
    return f"{file.metadata} {schema} {file.read().to_pylist()}"


def test_nothing_in_a_public_copy_tells_of_places_hosts_people_or_records(telling, public):
    store, _ = public
    own = [path for path in (telling / "results/small").rglob("*") if path.suffix in (".json", ".parquet")]
    assert {word for word in TELLING for path in own if word in content_of(path)} == set(TELLING)
    files = [path for path in store.folder.rglob("*") if path.is_file()]
    for path in files:
        text = content_of(path)
        assert not any(word in text for word in TELLING), path
        assert not numbers_of_records(text), path
    assert {path.suffix for path in files} == {".json", ".parquet", ".txt"}
    assert {path.name for path in store.folder.iterdir()} == {
        "NOTICE.txt", "study.json", "specs", "design", "done", "trials", "quality", "attacks", "history", "compacted",
    }  # fmt: skip
    assert not store.failed()


def test_metadata_of_columns_does_not_pass_into_a_public_copy(telling, tmp_path, monkeypatch):
    plain = pq.read_table

    def told(place, marker, relative):
        table = plain(io.BytesIO(place.read(relative)))
        fields = [field.with_metadata({"made_in": "/secretplace"}) for field in table.schema]
        sink = io.BytesIO()
        pq.write_table(table.cast(pa.schema(fields, metadata={"pandas": "/secretplace"})), sink)
        return from_parquet(sink.getvalue())

    monkeypatch.setattr(exporting, "pass_table", told)
    exporting.export_public(Store.at(telling / "results/small"), tmp_path / "out")
    for path in (tmp_path / "out").rglob("*.parquet"):
        assert "secretplace" not in content_of(path)
        assert b"/secretplace" not in path.read_bytes()


def test_no_hash_of_a_record_is_in_a_public_copy(telling, public):
    """Who has a record could tell by its hash whether it is in the pool."""
    (file,) = (telling / "results/small/data").glob("*.json")
    prints = base64.b64decode(json.loads(file.read_text())["fingerprints"])
    some = [prints[at : at + 8] for at in range(0, len(prints), 8 * 40)]
    assert len(some) == 10
    for path in (path for path in public[0].folder.rglob("*") if path.is_file()):
        content = content_of(path)
        for one in some:
            number = int.from_bytes(one, "little")
            forms = (one.hex(), f"{number:016x}", str(number), str(np.int64(np.uint64(number))))
            assert not any(form in content for form in forms), path
            assert one not in path.read_bytes()


def test_curves_of_private_trainings_are_left_out_of_a_public_copy_and_others_stay(telling, public):
    trials = read(public[0].root, public[0].study, "trials")
    private = set(trials.loc[trials["epsilon"].notna(), "trajectory_id"])
    assert private and private != set(trials["trajectory_id"])
    copied = read(public[0].root, public[0].study, "history")
    whole = read(telling / "results", "small", "history")
    curves = [name for name in whole if name not in exporting.COVERED]
    assert set(copied["trajectory_id"]) == set(whole["trajectory_id"])
    of_private = copied["trajectory_id"].isin(private)
    assert copied.loc[of_private, curves].isna().all(axis=None)
    assert whole.loc[whole["trajectory_id"].isin(private), curves].notna().any(axis=None)
    assert copied.loc[of_private, ["epoch", "step", "epsilon"]].notna().all(axis=None)
    order = ["trajectory_id", "epoch"]
    others = [table[~table["trajectory_id"].isin(private)].sort_values(order) for table in (copied, whole)]
    pd.testing.assert_frame_equal(*(table.reset_index(drop=True)[list(whole)] for table in others))
    assert "the curves and losses of private trainings" in " ".join(
        (public[0].folder / "NOTICE.txt").read_text().split()
    )


# Noise that can be drawn again


def test_nothing_is_said_of_noise_that_was_drawn_under_a_secret_key(public, telling, pages, capsys):
    store, said = public
    mia_study("audit")([str(telling / "results/small")])
    assert read(store.root, store.study, "trials")["epsilon"].notna().any()
    texts = [said, capsys.readouterr().out, (store.folder / "NOTICE.txt").read_text(), *map(plain, pages.values())]
    assert not any("guess that seed" in text or "guess the study's seed" in text for text in texts)
    assert "follows from them" in texts[2]


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """A study of an earlier version, whose noise came from its seed, and a public copy of it made today."""
    folder = tmp_path_factory.mktemp("old")
    shutil.copytree(FULL, folder / "results")
    with io.StringIO() as said, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", said)
        assert store_command(["export", "--public", str(folder / "results/small"), str(folder / "copy")]) == 0
        return folder, said.getvalue()


def test_an_export_of_before_says_that_its_epsilon_holds_against_nobody_who_can_guess_the_seed(old):
    folder, said = old
    assert GUESSABLE in said
    assert GUESSABLE in (folder / "copy/NOTICE.txt").read_text()
    again = folder / "copy of a copy"
    assert store_command(["export", "--public", str(folder / "copy"), str(again)]) == 0
    assert GUESSABLE in (again / "NOTICE.txt").read_text()


def test_so_does_the_audit(old, capsys):
    mia_study("audit")([str(old[0] / "results/small")])
    assert capsys.readouterr().out.count(GUESSABLE) == 1


def privacy_of(page):
    return plain(page.partition('<h2 id="privacy">')[2].partition("</section>")[0])


@pytest.mark.slow
@pytest.mark.parametrize("store", ["results/small", "copy"])
def test_so_do_report_and_tables_beside_the_epsilon(old, store, tmp_path):
    pages = written(str(old[0] / store), tmp_path)
    assert GUESSABLE in privacy_of(pages["report.html"])
    assert GUESSABLE in plain(pages["tables"])


def plain(page):
    """Words of a page, without markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page)).replace("&#39;", "'")


@pytest.mark.slow
def test_it_is_not_said_of_a_study_without_noise(lean, tmp_path, capsys):
    assert store_command(["export", "--public", lean.uri, str(tmp_path / "out")]) == 0
    mia_study("audit")([lean.uri])
    assert mia_study("tables")([lean.uri]) == 0
    assert report([lean.uri, "--out", str(tmp_path / "report.html")]) == 0
    said = [path.read_text() for path in (tmp_path / "out" / "NOTICE.txt", tmp_path / "report.html")]
    said.append(capsys.readouterr().out)
    assert not any("guess that seed" in text for text in said)
