"""What the page of claims says of outcomes, in stores with numbers made up by hand."""

from pathlib import Path

import pandas as pd
from claim_stores import BAD, EASY, GOOD, PAPER, SMALL, claim_of, claim_test, commit, fill, some, sweep_file

from analysis.claims import evaluate, write_reproduction
from nbsp_ray.plan.build import make_plan
from nbsp_ray.store import Store


def test_blocks_are_whole_or_not(store: Store, tmp_path: Path) -> None:
    """Five seeds of one pair and two of the other: the mean over pairs says so, and the table at the top too."""
    other = "window-close > window-open"
    file = sweep_file(tmp_path, "pairs: [window-open:window-close, window-close:window-open]")
    claim = claim_of(file, claim_test("above", "nbsp", "replay_only"))
    fill(store, claim, {PAPER: GOOD})
    (outcome,) = evaluate(claim, store)
    assert outcome.blocks == (5, 5)
    fill(store, claim, {other: some(GOOD, 2)})
    (outcome,) = evaluate(claim, store)
    assert (outcome.blocks, outcome.parts[0].seeds) == ((7, 10), "5 + 2")
    page = write_reproduction([claim], store, tmp_path / "docs")[0].read_text()
    assert "nbsp - replay_only: 0.40 (no interval, 5 + 2 seeds) | 7 of 10 blocks |" in page
    assert "| over pairs | 5 + 2 | 0.40 (no interval, 5 + 2 seeds) | inconclusive |" in page
    both = claim_of(file, *claim.tests, claim_test("above", "mask_only", "base"))
    assert evaluate(both, store)[0].blocks == (0, 10)


def test_what_was_found_and_what_each_method_comes_to(store: Store, tmp_path: Path) -> None:
    """One claim is refuted at reduced scale, one was never run; on the way the number of neurons is the claims'."""
    file = sweep_file(tmp_path, f"pairs: [drawer-close:door-close]\n{SMALL}")
    path = Path(file)
    path.write_text(path.read_text().replace("skill_neurons: 0.2", "skill_neurons: [0.2, 0.4]"))
    claims = [
        claim_of(file, claim_test("above", "nbsp", "replay_only"), note="A word to the reader."),
        claim_of(file, claim_test("above", "mask_only", "base"), id="C13"),
    ]
    fill(store, claims[0], {EASY: BAD})
    page = write_reproduction(claims, store, tmp_path / "docs")[0].read_text()
    assert "- At the paper's scale: nothing has run yet." in page
    assert "- At reduced scale, which never counts for the paper's: refuted C4 (x).\n" in page
    assert "- Not run at any scale: C13." in page
    assert "\n- A word to the reader.\n" in page
    assert f"### {EASY}, at reduced scale: 20,000 env steps (stable), then 20,000 env steps (fixed)" in page
    assert "| replay_only | 5 | 0.90, worst seed 0.80 | 0.90, worst seed 0.90 |" in page
    assert "| nbsp | 5 | 0.50, worst seed 0.40 | 0.90, worst seed 0.90 |" in page
    assert "| base |" not in page


def test_another_learner_has_a_table_of_its_own(store: Store, tmp_path: Path) -> None:
    """Two networks on one pair with the same budgets are never averaged."""
    plain = sweep_file(tmp_path, f"pairs: [drawer-close:door-close]\n{SMALL}", name="plain")
    wide = sweep_file(tmp_path, f"pairs: [drawer-close:door-close]\nsac: {{gamma: 0.98}}\n{SMALL}", name="wide")
    claims = [
        claim_of(one, claim_test("above", "nbsp", "replay_only"), id=name)
        for one, name in ((plain, "C4"), (wide, "C14"))
    ]
    fill(store, claims[0], {EASY: GOOD})
    fill(store, claims[1], {EASY: BAD})
    page = write_reproduction(claims, store, tmp_path / "docs")[0].read_text()
    title = f"### {EASY}, at reduced scale: 20,000 env steps (stable), then 20,000 env steps (fixed)"
    own, other = page.split(title)[1:]
    assert "| nbsp | 5 | 0.90, worst seed 0.80 |" in own
    assert other.startswith("; another learner than the paper's\n")
    assert "| nbsp | 5 | 0.50, worst seed 0.40 |" in other


def test_a_scale_names_the_pairs_that_it_is_of(store: Store, tmp_path: Path) -> None:
    file = sweep_file(tmp_path, f"pairs: [drawer-close:door-close, window-open:window-close]\n{SMALL}")
    claim = claim_of(file, claim_test("above", "nbsp", "replay_only"))
    fill(store, claim, {EASY: GOOD, PAPER: GOOD})
    page = write_reproduction([claim], store, tmp_path / "docs")[0].read_text()
    assert f"first phase 20,000 of 1,000,000 env steps; not the paper's pair ({EASY}); second phase" in page


def test_the_curve_of_a_claim_on_numbers_of_skill_neurons(store: Store, tmp_path: Path) -> None:
    """(0, 1), (0.8, 0.7), (1, 0) bend at the second; at reduced scale (0, 1), (0.4, 0.4), (1, 0) do not."""
    files = [
        sweep_file(tmp_path, "pairs: [window-open:window-close]", methods="base, nbsp", name="paper"),
        sweep_file(tmp_path, f"pairs: [drawer-close:door-close]\n{SMALL}", methods="base, nbsp", name="small"),
    ]
    for path in map(Path, files):
        path.write_text(path.read_text().replace("skill_neurons: 0.2", "skill_neurons: [0.1, 0.2, 0.4]"))
    claim = claim_of(files[0], claim_test("rises", "nbsp"), sweeps=tuple(files))
    bent = {PAPER: {0.1: (0.0, 1.0), 0.2: (0.8, 0.7), 0.4: (1.0, 0.0)}}
    bent[EASY] = bent[PAPER] | {0.2: (0.4, 0.4)}
    plan = make_plan("x", claim.loaded)
    for trial in plan.trials:
        curve = bent[" > ".join(trial.tasks)]
        commit(store, plan, trial, 1.0, *curve.get(trial.skill_neurons, (0.1, 0.9)))
    text = write_reproduction([claim], store, tmp_path / "docs")[0].read_text()
    few, some_, many = (f"{rate} (5 of 5 seeds equal)" for rate in ("0.00", "0.80", "1.00"))
    row = f"| {PAPER} | nbsp | 0.2 | 102 | 5 | {some_} | 0.70 (5 of 5 seeds equal) | knee |"
    assert row in text
    for pair in (PAPER, EASY):
        assert f"| {pair} | nbsp | 0.1 | 51 | 5 | {few} | {many} | yes |" in text
        assert f"| {pair} | base |" not in text
    assert f"| {EASY} | nbsp | 0.2 | 102 | 5 | 0.40 (5 of 5 seeds equal) | 0.40 (5 of 5 seeds equal) | yes |" in text
    assert text.count("Ring: a line's knee.") == 1
    for name in ("claim-C4-curve", "claim-C4-reduced-curve"):
        assert f"(figures/{name}.svg)" in text
        assert (tmp_path / f"docs/figures/{name}.svg").exists()


def test_the_page_says_what_a_reader_might_miss(store: Store, tmp_path: Path) -> None:
    """No room above a method that keeps all; numbers that another claim has too; the side of 0 of an end."""
    file = sweep_file(tmp_path, "pairs: [window-open:window-close]")
    claim = claim_of(file, claim_test("above", "nbsp", "replay_only"), exploratory=True, beyond=True)
    rates = {"nbsp": (0.98, 0.995, 0.99, 1.0, 0.97), "replay_only": (0.99, 1.0, 1.0, 1.0, 0.98)}
    fill(store, claim, {PAPER: rates})
    again = claim.model_copy(update={"id": "C12", "exploratory": False})
    page = write_reproduction([claim, again], store, tmp_path / "docs")[0].read_text()
    assert "replay_only is at 0.99, which leaves no room for an effect of 0.05." in page
    assert page.count("5 of its 5 numbers are those of C4, and no further evidence.") == 1
    # Differences -0.01, -0.005, -0.01, 0 and -0.01: mean -0.007, s 0.00447, half 2.776 x 0.002 = 0.00555
    assert f"| stability, nbsp - replay_only | {PAPER} | 5 | -0.007 [-0.013, -0.001] | refuted, no room |" in page
    assert "| [C4](#c4-x) (beyond, exploratory) |" in page
    assert "| [C12](#c12-x) (beyond) |" in page
    rows = pd.read_csv(tmp_path / "docs" / "data" / "claim-C4.csv")
    assert list(rows["measured"]) == list(rates["nbsp"])
    assert list(rows["measured_other"]) == list(rates["replay_only"])
    # 15 phases of 36 s in both claims: 0.15 h, and not twice as much.
    assert "All phases together, each once: 0.2 CPU." in page


def test_a_pair_without_room_is_named_where_the_others_have_some(store: Store, tmp_path: Path) -> None:
    file = sweep_file(tmp_path, "pairs: [window-open:window-close, drawer-open:drawer-close]")
    claim = claim_of(file, claim_test("above", "nbsp", "replay_only"))
    drawers = "drawer-open > drawer-close"
    half = {"nbsp": (0.5, 0.6, 0.5, 0.6, 0.5), "replay_only": (0.4, 0.5, 0.4, 0.5, 0.4)}
    fill(store, claim, {PAPER: {"nbsp": (1.0,) * 5, "replay_only": (0.97,) * 5}, drawers: half})
    page = write_reproduction([claim], store, tmp_path / "docs")[0].read_text()
    assert (
        f"- {PAPER} leaves no room to see what a method adds to what is at the limit there: stability of replay_only"
        in page
    )
    (line,) = [line for line in page.splitlines() if "which leaves no room" in line]
    assert line.endswith(f", {PAPER}: replay_only is at 0.97, which leaves no room for an effect of 0.05.")
