import shutil
import subprocess

import pytest
from synthetic_store import games_of, plan_of, play_all

import analysis
from analysis.pages import latex
from analysis.tables.show import show_results, show_trials


def test_what_latex_would_read_otherwise_is_escaped():
    assert latex.escape("50 % of x_1 & {y} ± #2 > $3") == r"50 \% of x\_1 \& \{y\} $\pm$ \#2 $>$ \$3"
    assert latex.escape("`mask_only` ~ a\\b") == r"\texttt{mask\_only} \textasciitilde{} a\textbackslash{}b"


def test_a_table_has_booktabs_rules_caption_and_label(full, plan):
    lines = latex.table(show_results(analysis.load(full.root, plan))).splitlines()
    assert lines[0] == r"\begin{table}[htbp]"
    assert lines[1].startswith(r"\caption{Both tasks. Success rates")
    assert r"\label{tab:results}" in lines
    assert [lines.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    (row,) = [line for line in lines if "nbsp" in line]
    assert row.startswith(r"reach $>$ avoid & nbsp & 0.2 & 2 of 2 & 0.60 $\pm$ 0.30 & 0.55")


def test_a_table_longer_than_a_page_goes_on_with_its_head(store):
    shown = show_trials(analysis.load(store.root, plan_of(seeds=tuple(range(30)))))
    text = latex.table(shown)
    assert text.count(r"\begin{longtable}") == text.count(r"\endhead") == 1
    assert r"\begin{table}" not in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX here: LaTeX is checked where pdflatex is found")
def test_it_compiles(full, plan, tmp_path):
    analysis.write_tables(analysis.load(full.root, plan), tmp_path, name="x")
    long = latex.table(show_trials(analysis.load(full.root, plan_of(seeds=tuple(range(60))))))
    (tmp_path / "tables/trials.tex").write_text(long)
    compile_tables(tmp_path)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX here: LaTeX is checked where pdflatex is found")
def test_tables_of_games_compile(store, tmp_path):
    plan = games_of(skill_neurons=(0.1, 0.8), pairs=(("BankHeist", "Alien"), ("DemonAttack", "Carnival")))
    play_all(store, plan)
    analysis.write_tables(analysis.load(store.root, plan), tmp_path, name="x")
    compile_tables(tmp_path)


def compile_tables(folder):
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    done = subprocess.run(
        command, cwd=folder / "tables", capture_output=True, text=True, errors="replace", timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull \\hbox" not in done.stdout, done.stdout
