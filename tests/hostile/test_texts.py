"""Every text that a store can hold for people, through every reader: it is shown as it is, and never more than a text.

No code runs (a canary is planted in each), no element or attribute of a page comes from it, and no picture or Markdown
takes it for more.
"""

import ast
import json
import re
import shlex
import shutil
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import pytest
from nbconvert import HTMLExporter

from analysis.notebooks.execution import FOLDER, executing
from analysis.plots.drawing import LONGEST, add_tooltips, finish
from analysis.report.conditions import Condition, rows
from analysis.report.shown import call, literal
from analysis.report.svg import inline
from analysis.study_data import load
from study.store import Store, read
from study.store.names import is_column, is_word
from study.tracking.run_content import run_content
from tests.commands import mia_study
from tests.hostile.kinds import ALL, AT_ONCE_AND_EACH, CONTROLS, EVERYTHING, HIT, KINDS, longest_part, text_of
from tests.hostile.pages import Parsed
from tests.hostile.readers import ASKED, answer, report, track


@pytest.mark.long
@pytest.mark.parametrize("kind", AT_ONCE_AND_EACH)
def test_a_page_shows_texts_and_takes_no_markup_or_code_from_them(forged, clean, undrawn, tmp_path, kind):
    text = text_of(kind)
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


@pytest.mark.parametrize("kind", AT_ONCE_AND_EACH)
@pytest.mark.parametrize("reader", [name for name in ASKED if name not in ("report", "figures", "notebooks")])
def test_texts_for_people_do_nothing_in_any_other_reader(forged, unpictured, capsys, kind, reader):
    text = text_of(kind)
    copy = forged(kind, text)
    code, said = answer(reader, copy, capsys)
    assert code in (0, 1, 2)
    if code == 2:
        assert len([line for line in said.splitlines() if line]) == 1
    if reader == "check":
        assert code == (kind == ALL)  # there, rows lost the ids of attacks that scores have
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


@pytest.mark.parametrize("kind", AT_ONCE_AND_EACH)
def test_mlflow_is_given_texts_as_values_only(forged, unpictured, kind):
    copy = forged(kind, text_of(kind))
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
    add_tooltips(axis.errorbar([1, 10, 100], [1, 2, 3], fmt="o", label=text), [text] * 3)
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


FOLDERS = (f"a'\"`<script>$({HIT[:20]}) $x^{{$ {{{{0}}}}", "[red]\x1b[31m\u202e[b]\n# x", "--help; touch x")


@pytest.mark.slow
def test_pictures_of_a_study_in_a_folder_of_any_name_are_drawn(smallest, tmp_path):
    folder = shutil.copytree(smallest.folder, tmp_path / FOLDERS[0])
    assert mia_study("figures")([str(folder), str(tmp_path / "pictures")]) == 0


@pytest.mark.long
def test_a_study_in_a_folder_of_any_name_has_all_its_pages_and_runs_nothing(
    sound, tmp_path, capsys, clean, undrawn, unpictured
):
    for name in FOLDERS:
        folder = shutil.copytree(sound.folder, tmp_path / name)
        store = Store.at(folder)
        assert report([str(folder)]) == 0
        found = Parsed((folder / "reports" / "report.html").read_text())
        assert found.parts <= clean.parts | {("svg",)}
        preamble = next(text for text in re.findall(r"data = load\(.*\)", found.text))
        assert ast.literal_eval(preamble.removeprefix("data = load(").removesuffix(")")) == name
        assert track(store)[0] == 0
        tags = [tag for call, _, given in track(store)[2] if call == "log_batch" for tag in given.get("tags", ())]
        notes = [tag.value for tag in tags if "note" in tag.key]
        assert len(notes) == 1
        assert name[:8] not in re.sub(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", "", notes[0])  # all of it is code
        capsys.readouterr()
        assert mia_study("status")([str(folder), "--json"]) == 1
        assert shlex.split(json.loads(capsys.readouterr().out)["next"])[-1] == f"results={tmp_path}"


@pytest.mark.slow
def test_pictures_and_a_notebook_of_every_text_at_once_hold_no_markup_of_theirs(forged, tmp_path):
    copy = forged(ALL, EVERYTHING)
    out = tmp_path / "report.html"
    assert report([str(copy.folder), "--out", str(out), "--include-records"]) == 0
    assert mia_study("figures")([str(copy.folder), str(tmp_path / "pictures")]) == 0
    assert len(list((tmp_path / "pictures").iterdir())) >= 8
    page = out.read_text()
    assert not CONTROLS.search(page)
    assert not any(name.startswith("on") for _, *names in Parsed(page).parts for name in names)
    with executing(copy.folder) as execute:
        document = execute(FOLDER / "01_sensitivity.ipynb")
    page, _ = HTMLExporter(exclude_input=True).from_notebook_node(document)
    assert "<script>alert(1)" not in page
    assert not any({"onerror", "onmouseover"} & set(names) for _, *names in Parsed(page).parts)
    assert "&lt;script&gt;alert(1)" in page


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
    assert "by a driver" not in capsys.readouterr().out


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
