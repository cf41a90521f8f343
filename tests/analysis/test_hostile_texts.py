"""Every text that a store, a file name or a study file can hold, through every reader: it is never more than a text.

A name that is none is refused in one line, by `store check` too. Any other text is shown as it is: no code runs (a
canary is planted in each), no element or attribute of a page comes from it, and no picture or Markdown takes it for
more. Stores are sealed after they were changed, so that no checksum refuses them first.
"""

import ast
import csv
import io
import itertools
import json
import os
import re
import shlex
import shutil
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from types import FunctionType, SimpleNamespace
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from markupsafe import Markup
from nbconvert import HTMLExporter
from PIL import Image

from analysis import plots
from analysis.notebooks.execution import FOLDER, execute
from analysis.plots.drawing import LONGEST, finish, tell
from analysis.report import sections
from analysis.report.conditions import Condition, rows
from analysis.report.headline import verdict
from analysis.report.shown import call, literal
from analysis.report.svg import inline
from analysis.stats.baselines import verdicts
from analysis.study_data import load
from study.store import Damaged, Store, read
from study.store.names import is_column, is_defense, is_word
from study.store.schema import to_table
from study.tracking import pictures
from study.tracking.run_content import run_content
from study.tracking.tracker import Tracker
from tests.analysis.synthetic import write_store
from tests.commands import mia_study
from tests.forging import (
    rewrite,
    rewrite_design,
    rewrite_pointer,
    rewrite_spec,
    with_column,
    with_json,
    with_text,
)
from tests.small import small_spec

notebooks, report, store_command = mia_study("notebooks"), mia_study("report"), mia_study("store")

CANARY = Path(tempfile.gettempdir()) / f"mia-study-canary-{os.getpid()}"
HITS: list[str] = []
"""What code that ran has done: a file, or an entry here."""

TOUCH = f"touch {CANARY}"
HIT = f"__import__('{__name__}', fromlist=['HITS']).HITS.append(1)"
KINDS = {
    "quotes": f'"\'""" + {HIT} + "\'',
    "query": f"target.norm` == @pd.io.common.os.system('{TOUCH}') or `train_size",
    "import": f"x', {HIT}) or __import__('os').system('{TOUCH}') #",
    "braces": "{{ 7 * 7 }}{% raw %}{0}{limit}{attack.__class__}",
    "percent": "%s%(name)s%n%%",
    "script": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "attribute": "\"><a onmouseover=alert(1) href='javascript:alert(1)'>",
    "rich": "[red]x[/red][/b][link=file:///etc/passwd]",
    "ansi": "\x1b[31mred\x1b]0;title\x07\x1b[2J\x9b1m",
    "newline": "one\ntwo\r\n# three\x85\u2028four",
    "nul": "before\0after",
    "rtl": "\u202egnp.exe\u202c\u200b",
    "long": "x" * 20_000,
    "shell": f"$({TOUCH}); {TOUCH} && `{TOUCH}` | '",
    "path": "../../../../etc/passwd",
    "math": r"a $\frac{$ b $x^{$",
    "markdown": f"| a | [x](javascript:alert(1)) `{TOUCH}` ![y](http://z) <b>&lt;",
    "formula": "=cmd|' /C calc'!A0",
}
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069]")
ALL = "everything"
EVERYTHING = " ".join(sorted(KINDS.values(), key=lambda text: "<script" not in text))  # tables cut texts
FEW = ("replicates=3", "factors.target.norm=[group, none]", "factors.train_size=[40]", "factors.epochs=[1]",
       "factors.defense=[none]", "split.panel=40")  # fmt: skip


@pytest.fixture(autouse=True)
def canary():
    """After each test: no text was run."""
    yield
    assert not CANARY.exists()
    assert not HITS
    plt.close("all")


def made(root, *overrides):
    """A small sealed study, whose scores are made."""
    store = Store.at(write_store(root, lambda trial: 0.5, overrides=(*FEW, *overrides)))
    spec = small_spec(*FEW).resolved
    more = {"split": spec["split"], "data": spec["data"], "train_size": 40, "epochs": 1}

    def finished(table):
        table = with_text(with_text(table, "versions", '{"torch": "2.13"}'), "device", "cpu")
        return with_json(table, "config", lambda own: own.update(more))

    rewrite(store, "trials", finished)
    return store


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Of two targets in three replicates."""
    return made(tmp_path_factory.mktemp("sound"))


@pytest.fixture(scope="module")
def smallest(tmp_path_factory):
    """Of one trial."""
    return made(tmp_path_factory.mktemp("smallest"), "replicates=1", "factors.target.norm=[group]")


@pytest.fixture(scope="module")
def forged(sound, tmp_path_factory):
    """A study of one cell with one text wherever that is no name; made once a kind."""
    stores = {}
    one = made(tmp_path_factory.mktemp("one"), "factors.target.norm=[group]")

    def of(kind, text):
        if kind not in stores:
            folder = tmp_path_factory.mktemp("forged") / "small"
            stores[kind] = Store.at(shutil.copytree((sound if kind == ALL else one).folder, folder))
            some_texts(stores[kind], text)
        return stores[kind]

    return of


def text_in(table, column, **where):
    def forge(store, text):
        rewrite(store, table, lambda rows: with_text(rows, column, text, lambda row: where.items() <= row.items()))

    return forge


def design_text(column, **where):
    def forge(store, text):
        rewrite_design(store, lambda rows: with_text(rows, column, text, lambda row: where.items() <= row.items()))

    return forge


def column_of(table, form="{}"):
    return lambda store, text: rewrite(store, table, lambda rows: with_column(rows, form.format(text), "x"))


def spec_text(change):
    return lambda store, text: rewrite_spec(store, lambda spec: change(spec, text))


def config_text(store, text):
    def change(config):
        config.update(defense=[{"name": text}])

    rewrite(store, "trials", lambda rows: with_json(rows, "config", change))


def factor_of_design(store, text):
    def change(levels):
        levels.update({text: 1})

    rewrite_design(store, lambda rows: with_json(rows, "levels", change))


LOADERS = ("report", "tables", "figures", "notebooks")
ROWS = ("trial_id", "trajectory_id", "role", "dataset", "target", "split", "defense", "config", "versions")
MEASURES = ("measure", "measure_id", "extractor", "against", "extractor_sha256", "arguments")
ATTACKS = ("attack", "attack_id", "access", "epsilon_method", "arguments")
DESIGN = ("trial_id", "trajectory_id", "role", "kind", "id", "levels")
OF_PASSES, OF_SCORES = ("check", *LOADERS, "track"), ("check", "report", "figures", "track")
OF_DESIGN, OF_SPEC = ("check", *LOADERS, "status", "controls", "audit"), ("check", *LOADERS, "plan", "track", "audit")
NAMES = {
    "a column of trials": (column_of("trials"), OF_PASSES),
    "a setting's column": (column_of("trials", "target.{}"), OF_PASSES),
    **{f"trials.{name}": (text_in("trials", name), OF_PASSES) for name in ROWS},
    **{f"quality.{name}": (text_in("quality", name), OF_PASSES) for name in MEASURES},
    **{f"attacks.{name}": (text_in("attacks", name), OF_PASSES) for name in ATTACKS},
    **{f"scores.{name}": (text_in("scores", name), OF_SCORES) for name in ("trial_id", "attack_id")},
    "an arm in a config": (config_text, LOADERS),
    **{f"design.{name}": (design_text(name), OF_DESIGN) for name in DESIGN},
    "an attack's label in a design": (design_text("label", kind="attack"), OF_DESIGN),
    "a measure's label in a design": (design_text("label", kind="measure"), OF_DESIGN),
    "a factor in a design": (factor_of_design, OF_DESIGN),
    "a factor in a spec": (spec_text(lambda spec, text: spec["factors"].update({text: [1]})), OF_SPEC),
    "an attack in a spec": (spec_text(lambda spec, text: spec["attacks"][0].update(label=text)), OF_SPEC),
    "the audit's attack in a spec": (spec_text(lambda spec, text: spec.update(audit={"attack": text})), OF_SPEC),
    "the versions in the pointer": (lambda store, text: rewrite_pointer(store, versions=text), (*OF_DESIGN, "track")),
    "a spec's hash in the pointer": (lambda store, text: rewrite_pointer(store, spec=text), (*OF_DESIGN, "track")),
}
"""Where a text is a name, and refused: how it comes there, and by which readers."""


def some_texts(store, text):
    """A text wherever one is only told to people, and wherever it is a level."""
    added = {text: text, "lock": text}

    def trials(table):
        for column in ("study", "device", "flags"):
            table = with_text(table, column, text)
        table = with_text(table, "target.norm", text, lambda row: row["target.norm"] == "group")
        table = with_json(table, "versions", lambda own: own.update(added))
        return with_json(table, "config", lambda own: own["data"].update(added))

    def attacks(table):
        return with_text(with_text(with_text(table, "knowledge", text), "flags", text), "skipped", text)

    def level(own):
        own.update({"target.norm": text if own.get("target.norm") == "group" else "none"})

    def design(table):
        table = with_text(table, "label", text, lambda row: row["kind"] in ("trial", "control"))
        table = with_text(table, "skipped", text, lambda row: row["kind"] == "control")
        return with_json(table, "levels", level)

    rewrite(store, "trials", trials)
    rewrite(store, "attacks", attacks)
    rewrite_design(store, design)
    rewrite_spec(store, lambda spec: spec["data"].update({"root": text, text: text}))
    rewrite_spec(store, lambda spec: spec.update(seed=text, about=text))
    rewrite_pointer(store, study=text, versions={text: text, "torch": text}, git_commit=text, lock=text)
    trial = read(store.root, store.study, "trials").iloc[0]
    told = dict.fromkeys(("trajectory_id", "trial_id", "trial", "error", "traceback", "command", text), text)
    store.save_failure(trial["trajectory_id"], told)
    running = [{"trajectory_id": text, "trial": text, "seconds": 1.0}]
    state = {"pid": text, "at": "2026-01-01T00:00:00+00:00", "started_at": "2026-01-01T00:00:00+00:00",
             "queued": text, "running": running, "failed": [text], "last_error": text, text: text}  # fmt: skip
    (store.folder / "progress.json").write_text(json.dumps(state))


class Client:
    """MLflow, as far as a tracker asks it; keeps what it is given."""

    def __init__(self):
        self.given = []

    def __getattr__(self, name):
        def took(*arguments, **named):
            self.given.append((name, arguments, named))
            return SimpleNamespace(info=SimpleNamespace(run_id="run"))

        return took


def track(store):
    """What a tracker makes of every trial, with a server that takes anything."""
    said = []
    tracker = Tracker(store, "http://127.0.0.1:1", said.append)
    tracker._client, tracker._experiment, tracker._parent, tracker._runs = Client(), "1", "parent", {}
    tracker._has_data = False
    given = tracker._client.given
    try:
        tracker._catch_up()
        tracker._find_parent(tracker._client)
    except (Damaged, ValueError) as error:
        said.append(f"refused: {error}")
    return (2 if said else 0), "\n".join(said[:1]), given


def plan(store):
    """Of the spec that a store has."""
    (spec,) = (store.folder / "specs").iterdir()
    return mia_study("sweep")([str(spec), "--plan", "--set", f"results={store.root}"])


READERS = {
    "report": lambda store: report([str(store.folder)]),
    "tables": lambda store: mia_study("tables")([str(store.folder)]),
    "figures": lambda store: mia_study("figures")([str(store.folder), str(store.folder / "pictures")]),
    "notebooks": lambda store: notebooks([str(store.folder)]),
    "status": lambda store: mia_study("status")([str(store.folder)]),
    "check": lambda store: store_command(["check", str(store.folder)]),
    "controls": lambda store: mia_study("controls")([str(store.folder)]),
    "audit": lambda store: mia_study("audit")([str(store.folder)]),
    "plan": plan,
}
ASKED = (*READERS, "track")


def answer(reader, store, capsys):
    """Exit code and what was printed; any exception is a failure."""
    if reader == "track":
        code, said, _ = track(store)
        return code, said
    capsys.readouterr()
    code = READERS[reader](store)
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def refuses(reader, store, capsys):
    """Whether a reader says no: in one line, without control characters; `check` with a line of damage."""
    code, said = answer(reader, store, capsys)
    if reader == "check":
        lines = [line for line in said.splitlines() if line.startswith("DAMAGED")]
        assert code == bool(lines)
        assert all(line.isprintable() for line in lines)
        return code == 1
    if code != 2:
        return False
    lines = [line for line in said.splitlines() if line]
    assert len(lines) == 1 and lines[0].isprintable() and len(lines[0]) < 1000, lines
    return True


def asked(position, kind):
    """Who is asked: all readers of a spec; else `check` where it reads that, and one of the others in turn."""
    first, *others = NAMES[position][1]
    if "plan" in others:
        return (first, *others)
    turn = list(NAMES).index(position) + list(KINDS).index(kind)
    return (first, others[turn % len(others)])


def test_every_kind_of_text_meets_every_position_and_every_reader():
    met = {(kind, reader) for position in NAMES for kind in KINDS for reader in asked(position, kind)}
    assert met == set(itertools.product(KINDS, ASKED))
    assert len(NAMES) * len(KINDS) > 600


@pytest.mark.parametrize("position", NAMES)
def test_a_name_that_is_none_is_refused_and_check_says_so(smallest, tmp_path, capsys, position):
    for kind, text in KINDS.items():
        store = Store.at(shutil.copytree(smallest.folder, tmp_path / kind / "small"))
        NAMES[position][0](store, text)
        for reader in asked(position, kind):
            assert refuses(reader, store, capsys), (kind, reader)


@pytest.mark.parametrize("name", ["query", "quotes", "import", "shell"])
def test_a_column_of_the_wide_table_never_runs_when_checks_are_passed_by(sound, name):
    """As if a store were read by code that checks no names: no condition of it becomes code."""
    data = load(sound.folder)
    data.wide[f"target.{KINDS[name]}"] = [1.0, 2.0] * (len(data.wide) // 2)
    with pytest.raises(ValueError, match="is no name of a column"):
        verdict(data, verdicts(data), pd.DataFrame())


def longest_part(text):
    """The longest run of a text that can be printed."""
    return max(("".join(run) for printable, run in itertools.groupby(text, str.isprintable) if printable), key=len)


class Parsed(HTMLParser):
    """parts: each element with the names of its attributes. text: all that is outside of scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.parts, self.links, self._words, self._inside, self.codes = set(), set(), [], "", []
        self.feed(page)
        self.text = "".join(self._words)

    def handle_starttag(self, tag, attrs):
        self.parts.add((tag, *sorted(name for name, _ in attrs)))
        self.links |= {value for name, value in attrs if name in ("href", "src")}
        self._inside = tag if tag in ("script", "style") else ""
        if tag == "code":
            self.codes.append("")

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if not self._inside:
            self._words.append(data)
        if self.lasttag == "code" and self.codes:
            self.codes[-1] += data


@pytest.fixture
def undrawn(monkeypatch):
    """Pages without their pictures, which take most of the time and are tested by themselves."""
    for name in [name for name, value in vars(plots).items() if isinstance(value, FunctionType)]:
        monkeypatch.setattr(plots, name, lambda *arguments, **named: None)
    monkeypatch.setattr(sections, "inline", lambda figure, name, words: Markup("<svg></svg>"))


@pytest.fixture
def unpictured(monkeypatch):
    """Runs of MLflow without the picture of their ROC, whose texts are names."""
    monkeypatch.setattr(pictures, "roc_picture", lambda *arguments: None)


@pytest.fixture(scope="module")
def clean(sound, tmp_path_factory):
    """What a page of the sound study is made of."""
    out = tmp_path_factory.mktemp("clean") / "report.html"
    assert report([str(sound.folder), "--out", str(out), "--include-records"]) == 0
    return Parsed(out.read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_shows_texts_and_takes_no_markup_or_code_from_them(forged, clean, undrawn, tmp_path, kind):
    text = KINDS[kind]
    copy = forged(kind, text)
    out = tmp_path / "page.html"
    assert report([str(copy.folder), "--out", str(out)]) == 0
    page = out.read_text()
    assert not CONTROLS.search(page)
    found = Parsed(page)
    assert found.parts <= clean.parts | {("svg",)}
    assert all(link.startswith(("#source-", "#", "data:")) for link in found.links)
    assert longest_part(text) in found.text
    data = load(copy.folder)
    names = {"data": data, "wide": read(copy.root, copy.study, "wide"), "rows": rows}
    selections = [line for line in found.codes if line.startswith("rows(wide, ")]
    assert len(selections) > 10 and any(repr(text) in line for line in selections)
    for line in selections:
        for argument in ast.parse(line, mode="eval").body.args[1:]:
            ast.literal_eval(argument)  # nothing but names and plain values
        assert len(eval(line, names))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reader", [name for name in ASKED if name not in ("report", "figures", "notebooks")])
def test_texts_for_people_do_nothing_in_any_other_reader(forged, unpictured, capsys, kind, reader):
    text = KINDS[kind]
    copy = forged(kind, text)
    code, said = answer(reader, copy, capsys)
    assert code in (0, 1, 2)
    if code == 2:
        assert len([line for line in said.splitlines() if line]) == 1
    if reader == "check":
        assert code == 0
    if reader == "tables":
        assert code == 0
        lines = [line for line in said.splitlines() if line.startswith("|")]
        assert all(line.isprintable() for line in lines)
        assert not re.search(r"(?<!\\)\]\(|<(script|img|a|b)\b|(?<!\\)`", said)
        widths = [len(re.findall(r"(?<!\\)\|", line)) for line in lines]
        blocks = "\n".join(said.splitlines()).split("\n\n")
        for block in blocks:
            own = [len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines() if line.startswith("|")]
            assert len(set(own)) <= 1, block
        assert widths
    if reader == "status":
        commands = [line.partition("alone: ")[2] for line in said.splitlines() if "alone: " in line]
        trial = read(copy.root, copy.study, "trials").iloc[0]["trajectory_id"]
        (spec,) = (copy.folder / "specs").iterdir()
        words = shlex.split(commands[-1])
        assert words[:4] == ["mia-study", "trial", str(spec), "--id"] and is_word(words[4])
        assert words[4] == (text if is_word(text) else trial)


@pytest.mark.parametrize("kind", KINDS)
def test_mlflow_is_given_texts_as_values_only(forged, unpictured, kind):
    copy = forged(kind, KINDS[kind])
    trial = read(copy.root, copy.study, "trials").iloc[0]["trial_id"]
    content = run_content(copy, trial, include_records=False)
    for name in (*content.params, *content.metrics, *content.tags):
        assert all(is_column(part) or is_word(part) for part in name.split("/")), name
    assert all(re.fullmatch(r"[a-z]+(/[a-z]+)?\.(json|png)", name) for name in content.files)
    _, said, given = track(copy)
    assert not said
    assert {name for name, _, _ in given} >= {"log_batch", "create_run", "log_artifacts"}


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_show_texts_as_they_are(kind, tmp_path):
    text = KINDS[kind]
    figure, axis = plt.subplots()
    tell(axis.errorbar([1, 10, 100], [1, 2, 3], fmt="o", label=text), [text] * 3)
    axis.set(title=text, xlabel=text, ylabel=text, xscale="log")
    axis.set_yticks([1, 2], [text, "b"])
    axis.text(2, 2, text)
    axis.legend()
    finish(figure, text)
    figure.savefig(tmp_path / "picture.png", dpi=20)
    drawn = ElementTree.fromstring(inline(figure, "name", text))
    words = ["".join(part.itertext()) for part in drawn.iter("text")]
    assert sum(longest_part(text)[:30] in word for word in words) >= 7
    assert max(map(len, "\n".join(words).split("\n"))) <= LONGEST
    assert "100" in {"".join(word.split()) for word in words}  # powers of an axis are still drawn as mathematics


def test_a_study_in_a_folder_of_any_name_has_all_its_pages_and_runs_nothing(sound, tmp_path, capsys, clean):
    for name in (f"a'\"`<script>$({HIT[:20]}) $x^{{$ {{{{0}}}}", "[red]\x1b[31m\u202e[b]\n# x", "--help; touch x"):
        folder = shutil.copytree(sound.folder, tmp_path / name)
        store = Store.at(folder)
        assert report([str(folder)]) == 0
        found = Parsed((folder / "reports" / "report.html").read_text())
        assert found.parts <= clean.parts
        preamble = next(text for text in re.findall(r"data = load\(.*\)", found.text))
        assert ast.literal_eval(preamble.removeprefix("data = load(").removesuffix(")")) == name
        assert mia_study("figures")([str(folder), str(tmp_path / "pictures")]) == 0
        assert track(store)[0] == 0
        tags = [tag for call, _, given in track(store)[2] if call == "log_batch" for tag in given.get("tags", ())]
        notes = [tag.value for tag in tags if "note" in tag.key]
        assert len(notes) == 1
        assert name[:8] not in re.sub(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", "", notes[0])  # all of it is code
        capsys.readouterr()
        assert mia_study("status")([str(folder), "--json"]) == 1
        assert shlex.split(json.loads(capsys.readouterr().out)["next"])[-1] == f"results={tmp_path}"


def test_pictures_and_a_notebook_of_every_text_at_once_hold_no_markup_of_theirs(forged, tmp_path):
    copy = forged(ALL, EVERYTHING.replace("x" * 20_000, "x" * 500))
    out = tmp_path / "report.html"
    assert report([str(copy.folder), "--out", str(out), "--include-records"]) == 0
    assert mia_study("figures")([str(copy.folder), str(tmp_path / "pictures")]) == 0
    assert len(list((tmp_path / "pictures").iterdir())) >= 8
    page = out.read_text()
    assert not CONTROLS.search(page)
    assert not any(name.startswith("on") for _, *names in Parsed(page).parts for name in names)
    document = execute(FOLDER / "01_sensitivity.ipynb", copy.folder)
    page, _ = HTMLExporter(exclude_input=True).from_notebook_node(document)
    assert "<script>alert(1)" not in page
    assert not any({"onerror", "onmouseover"} & set(names) for _, *names in Parsed(page).parts)
    assert "&lt;script&gt;alert(1)" in page


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


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_written_under_a_name_that_is_none(kind):
    text, trial = KINDS[kind], {"trial_id": "t", "trajectory_id": "t"}
    to_table("trials", [{**trial, "target.norm": text, "flags": text, "defense": "dp_sgd+dropout"}])
    odd = {
        "trials": [
            {**trial, text: 1.0},
            {**trial, "role": text},
            {**trial, "defense": text},
            {**trial, "config": text},
        ],
        "attacks": [{"trial_id": "t", "attack_id": "a", "attack": text}, {"trial_id": "t", "attack_id": text}],
        "quality": [{"trial_id": "t", "measure_id": "m", "measure": text}],
        "design": [{"role": "study", "kind": "attack", "id": "a", "label": text}],
    }
    for table, several in odd.items():
        for row in several:
            with pytest.raises(ValueError, match="which is no"):
                to_table(table, [row])


MISSHAPEN = (
    {"at": "2026-01-01"}, {"at": 7}, {"running": "all"}, {"running": ["one"]}, {"running": [{"trial": "t"}]},
    {"running": [{"trial": "t", "seconds": "1"}]}, {"seconds_left": "soon"}, {"started_at": "[red]"},
    {"seconds_left": float("nan")},
)  # fmt: skip


@pytest.mark.parametrize("kept", MISSHAPEN, ids=str)
def test_what_a_driver_never_tells_is_passed_over(smallest, tmp_path, capsys, kept):
    store = Store.at(shutil.copytree(smallest.folder, tmp_path / "small"))
    told = {"at": "2026-01-01T00:00:00+00:00", "running": [], "queued": 1}
    (store.folder / "progress.json").write_text(json.dumps(told))
    assert mia_study("status")([str(store.folder)]) == 1
    assert "by a driver that did not end in order" in capsys.readouterr().out
    (store.folder / "progress.json").write_text(json.dumps({**told, **kept}))
    assert mia_study("status")([str(store.folder)]) == 1
    assert "driver" not in capsys.readouterr().out


def test_names_that_studies_have_are_names():
    for name in ("train_size", "target.norm", "training.learning_rate", "dp_sgd.sigma", "kid_domain_unseen", "d_real"):
        assert is_column(name)
    for name in ("", "Target", ".a", "a.", "a..b", "a b", "a\n", "é", "1a", "a-b", "x" * 201, None, 7):
        assert not is_column(name)
    for word in ("white_box", "local_gan_known20_steps1000", "a-b", "WHITE_BOX", "8f3a", "c3a8"):
        assert is_word(word)
    for word in ("", "-a", "_a", "a b", "a\n", "é", "a.b", "a/b", "a+b", None):
        assert not is_word(word)
    assert is_defense("dp_sgd+dropout") and not is_defense("dp_sgd+") and not is_defense("a + b")


@pytest.mark.parametrize("kind", KINDS)
def test_shown_python_gives_any_text_again_and_nothing_but_plain_values(kind):
    text = KINDS[kind]
    assert ast.literal_eval(literal({"a.b": [text, 1, 0.5, True, None]})) == {"a.b": [text, 1, 0.5, True, None]}
    assert literal(text).isprintable()
    assert call("front", text) == f"front({text!r})"
    with pytest.raises(ValueError, match="no name of a column"):
        literal({text: 1})
    with pytest.raises(ValueError, match="no name of a column"):
        Condition.of({text: [1]})
    for odd in (float("inf"), float("nan"), object(), b"x", [1]):
        with pytest.raises(ValueError):
            Condition.of({"a": [odd]})
