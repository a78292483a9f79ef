import subprocess
import sys

import pytest

import analysis

MODULES = [
    "analysis",
    "analysis.pages.report",
    "analysis.pages.console",
    "analysis.tables",
    "analysis.statistics",
]
FIGURE_MODULES = ["analysis.figures.phases", "analysis.explorer"]


@pytest.mark.parametrize("module", MODULES)
def test_neither_torch_nor_ray_is_imported(module):
    code = f"import sys, {module}; print(*sorted({{'torch', 'ray', 'metaworld', 'matplotlib'}} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


@pytest.mark.parametrize("module", FIGURE_MODULES)
def test_figures_and_pages_need_neither_torch_nor_ray_nor_a_display(module):
    code = f"import sys, {module}; print(*sorted({{'torch', 'ray', 'matplotlib.pyplot'}} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_exported_names():
    assert set(analysis.__all__) == {
        *("Results", "load", "load_results", "write_report", "write_tables", "write_explorer"),
        *("Advice", "advise", "export_agent"),
    }
