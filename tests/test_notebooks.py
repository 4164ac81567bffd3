"""Every notebook is kept with its outputs, beside a script with the same cells, which `make notebooks` runs."""

import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
SCRIPTS = sorted(FOLDER.glob("*.py"))


def cells(script):
    """Kind and text of every cell of a script in the percent format."""
    parts = ("\n" + script.read_text()).split("\n# %%")[1:]
    for part in parts:
        head, _, text = part.partition("\n")
        if head.strip() == "[markdown]":
            yield "markdown", "\n".join(line.removeprefix("#").removeprefix(" ") for line in text.strip().split("\n"))
        else:
            yield "code", text.strip()


def test_there_are_notebooks():
    assert SCRIPTS and {path.stem for path in FOLDER.glob("*.ipynb")} == {path.stem for path in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_notebook_and_its_script_have_the_same_cells(script):
    notebook = json.loads(script.with_suffix(".ipynb").read_text())
    kept = [(cell["cell_type"], "".join(cell["source"]).strip()) for cell in notebook["cells"]]
    assert kept == list(cells(script))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1)), "run it from the beginning"
    assert any(cell["outputs"] for cell in code)
    assert not [output for cell in code for output in cell["outputs"] if output["output_type"] == "error"]
