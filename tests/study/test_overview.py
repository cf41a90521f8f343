import dataclasses
import io
import re

from mia_core.data import load_pool
from study.design.study_design import Design
from study.plan import overview
from study.terminal import Console
from tests.small import small_spec


def test_the_plan_shows_the_first_notes_on_the_data_and_how_many_there_are():
    spec = small_spec()
    notes = tuple(f"left out: [b]{number}.png: empty file" for number in range(overview.NOTES + 3))
    design = Design(spec, dataclasses.replace(load_pool(spec.data), notes=notes))
    console = Console(record=True, width=200)
    overview.show(console, design, {})
    lines = [line for line in console.export_text().splitlines() if line.startswith("data: ")]
    described = ["images", "classes", "persons", "copies"]
    assert [line.split(": ")[1] for line in lines[:4]] == described
    assert lines[4:] == [*(f"data: {note}" for note in notes[: overview.NOTES]), "data: and 3 more"]


def test_no_word_or_number_of_a_plan_is_broken_on_a_terminal_and_no_line_in_a_pipe():
    spec = small_spec()
    design = Design(spec, load_pool(spec.data))
    terminal = Console(file=io.StringIO(), width=80, force_terminal=True)
    pipe = Console(file=io.StringIO(), width=80)
    for console in (terminal, pipe):
        overview.show(console, design, {})
    shown, whole = (re.sub(r"\x1b\[\d*m", "", console.file.getvalue()) for console in (terminal, pipe))
    assert {text.splitlines()[0] for text in (shown, whole)} == {f"study {spec.study}: digits, 1,797 records"}
    assert max(map(len, shown.splitlines())) <= 80 < max(map(len, whole.splitlines()))
    assert shown.split() == whole.split()
