import shutil
import subprocess

import pytest
from synthetic_store import FIRST, SECOND, games_of, learn_first, learn_second, plan_of, play_all

import analysis
from analysis.pages import latex
from analysis.tables.paper_shape import paper_table
from analysis.tables.results import show_results
from analysis.tables.trials import show_trials


def test_what_latex_would_read_otherwise_is_escaped():
    assert latex.escape("50 % of x_1 & {y} ± #2 > $3") == r"50 \% of x\_1 \& \{y\} $\pm$ \#2 $>$ \$3"
    assert latex.escape("`mask_only` ~ a\\b") == r"\texttt{mask\_only} \textasciitilde{} a\textbackslash{}b"


def test_a_table_has_booktabs_rules_caption_and_label(full, plan):
    lines = latex.table(show_results(analysis.load(full.root, plan))).splitlines()
    assert lines[0] == r"% Needs \usepackage{booktabs} in the preamble."
    assert lines[1] == r"\begin{table}[htbp]"
    assert lines[2].startswith(r"\caption{Both tasks. Success rates")
    assert r"\label{tab:results}" in lines
    assert [lines.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    (row,) = [line for line in lines if "nbsp" in line]
    assert row.startswith(r"reach $>$ avoid & nbsp & 0.2 & 2 of 2 & 0.60 $\pm$ 0.30 & 0.55")


def test_a_table_longer_than_a_page_goes_on_with_its_head(store):
    shown = show_trials(analysis.load(store.root, plan_of(seeds=tuple(range(30)))))
    text = latex.table(shown)
    assert text.startswith(r"% Needs \usepackage{booktabs,longtable}")
    assert text.count(r"\begin{longtable}") == text.count(r"\endhead") == 1
    assert r"\begin{table}" not in text


def three_seeds(store):
    """Of base 0.0, 0.1, 0.2 on the first task after, of nbsp 0.8, 0.8, 0.9; on the second task 0.9 each."""
    plan = plan_of(seeds=(0, 1, 2))
    for trial in plan.trials:
        learn_first(store, plan, trial, 9)
        after = trial.seed if trial.method == "base" else 8 + trial.seed // 2
        learn_second(store, plan, trial, after, 9)
    return analysis.load(store.root, plan)


def test_a_table_in_the_shape_of_a_papers(store):
    lines = latex.paper(paper_table(three_seeds(store))).splitlines()
    assert lines[0] == r"% Needs \usepackage{booktabs,siunitx} in the preamble."
    assert r"\begin{tabular}{@{}ll*{2}{S[table-format=1.2(3)]}@{}}" in lines
    assert r"& & \multicolumn{2}{c}{reach $>$ avoid} \\" in lines
    assert r"method & neurons & {first after} & {second} \\" in lines
    # Bold: ahead by 0.8, 0.7, 0.7 (0.733 -+ 4.30 x 0.033). All seeds of the second task are equal: no best, no error.
    assert r"base &  & 0.10 \pm 0.06 & 0.90 \\" in lines
    assert r"nbsp & 0.2 & \bfseries 0.83 \pm 0.03 & 0.90 \\" in lines
    assert "of seeds that are all equal and say nothing of the next" in lines[2]
    assert "score undefined" not in "".join(lines)


def test_it_marks_undefined_scores_and_has_the_means_without_them(store):
    """After: seed 0 of nbsp 0.2, drawn at random, on the first pair; 0.8 and 0.9 else."""
    plan = plan_of(pairs=((FIRST, SECOND), (SECOND, FIRST)), seeds=(0, 1, 2))
    for trial in plan.trials:
        learn_first(store, plan, trial, 9)
        undefined = (trial.method, trial.seed, trial.tasks[0]) == ("nbsp", 0, FIRST)
        after = 2 if undefined else 8 + trial.seed % 2
        learn_second(store, plan, trial, after, 9, **({} if trial.method == "base" else {"score_undefined": undefined}))
    lines = latex.paper(paper_table(analysis.load(store.root, plan))).splitlines()
    assert r"method & neurons & score undefined & {first after} & {second} & {first after} & {second} \\" in lines
    assert r"base &  &  & 0.83 \pm 0.03 & 0.90 & 0.83 \pm 0.03 & 0.90 \\" in lines
    # 0.2, 0.9, 0.8: 0.633 +- 0.219; then 0.9, 0.8. The other pair has no such seed.
    assert r"nbsp & 0.2 & 1 of 3, - & 0.63 \pm 0.22 & 0.90 & 0.83 \pm 0.03 & 0.90 \\" in lines
    assert r"nbsp & 0.2 & left out & 0.85 \pm 0.05 & 0.90 & 0.83 \pm 0.03 & 0.90 \\" in lines
    assert "drawn at random" in lines[2]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX here: LaTeX is checked where pdflatex is found")
def test_it_compiles(full, plan, tmp_path):
    analysis.write_tables(analysis.load(full.root, plan), tmp_path, name="x")
    long = latex.table(show_trials(analysis.load(full.root, plan_of(seeds=tuple(range(60))))))
    (tmp_path / "trials.tex").write_text(long)
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
        command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull \\hbox" not in done.stdout, done.stdout
