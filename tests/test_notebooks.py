"""The notebooks of the site run from the first cell to the last, and are stored with their pictures."""

import json

import pytest
from support import DOCS

NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))


def outputs(cells):
    return [output for cell in cells if cell["cell_type"] == "code" for output in cell["outputs"]]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_stored_with_its_results(path):
    cells = json.loads(path.read_text("utf-8"))["cells"]
    assert path.stat().st_size < 300_000
    assert all(cell["execution_count"] for cell in cells if cell["cell_type"] == "code")
    assert any("image/png" in output.get("data", {}) for output in outputs(cells))
    assert not [output for output in outputs(cells) if output["output_type"] == "error"]


def test_there_are_four():
    assert len(NOTEBOOKS) == 4


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path):
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, 4)
    NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert any("image/png" in output.get("data", {}) for output in outputs(notebook.cells))
