"""Outcomes of claims in stores as the trials would leave them, with numbers made up by hand."""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from claim_stores import BAD, EASY, GOOD, PAPER, SEEDS, SMALL, claim_of, claim_test, commit, fill, some, sweep_file

from analysis.claims import Claim, Outcome, evaluate, write_reproduction
from analysis.statistics import summary
from nbsp_ray.plan.build import make_plan
from nbsp_ray.probe.request import Answer, Kind, NetworkScores, Request, cells, find_targets, scores_record
from nbsp_ray.store import Store


def scopes(outcomes: Sequence[Outcome]) -> dict[str, str]:
    return {one.scope: one.verdict for one in outcomes}


def test_reduced_scale_has_a_verdict_of_its_own(store: Store, tmp_path: Path) -> None:
    claim = claim_of(
        sweep_file(tmp_path, "pairs: [drawer-close:door-close]\n" + SMALL), claim_test("above", "nbsp", "replay_only")
    )
    fill(store, claim, {EASY: GOOD})
    paper, reduced = evaluate(claim, store)
    assert (paper.scope, paper.verdict, paper.values) == ("paper", "not run", ())
    assert (reduced.scope, reduced.verdict, reduced.without) == ("at reduced scale", "confirmed", "confirmed")
    assert (reduced.seeds, reduced.pairs, len(reduced.keys)) == (5, 1, 15)
    assert reduced.scale == [
        "first phase 20,000 of 1,000,000 env steps",
        "not the paper's pair",
        "second phase 20,000 of 1,000,000 env steps",
        "second phase stops by `fixed`, not `stable`",
    ]
    (part,) = reduced.parts
    assert part.comparison == "stability, nbsp - replay_only"
    assert sorted(part.values[EASY].values()) == pytest.approx([0.35, 0.4, 0.4, 0.4, 0.45])
    expected = summary([0.35, 0.4, 0.4, 0.4, 0.45])
    assert (part.over_pairs.found.low, part.over_pairs.found.high) == pytest.approx((expected.low, expected.high))


def test_the_paper_s_own_and_reduced_rows_are_never_mixed(store: Store, tmp_path: Path) -> None:
    """Good at reduced scale, bad at the paper's: two verdicts, neither softened by the other."""
    small = sweep_file(tmp_path, "pairs: [drawer-close:door-close]\n" + SMALL, name="small")
    whole = sweep_file(tmp_path, "pairs: [window-open:window-close]\n", name="whole")
    claim = claim_of(small, claim_test("above", "nbsp", "replay_only"), sweeps=(small, whole))
    fill(store, claim, {EASY: GOOD, PAPER: BAD})
    assert scopes(evaluate(claim, store)) == {"paper": "refuted", "at reduced scale": "confirmed"}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("first: {env_steps: 999_999}", "first phase 999,999 of 1,000,000 env steps"),
        ("second: {stop: fixed}", "second phase stops by `fixed`, not `stable`"),
        ("sac: {gamma: 0.98}", "another learner than the paper's"),
        ("evaluation: {goals: heldout}", "other final evaluations than the paper's"),
    ],
)
def test_what_makes_a_paper_s_pair_another_scale(store: Store, tmp_path: Path, change: str, what: str) -> None:
    claim = claim_of(
        sweep_file(tmp_path, f"pairs: [window-open:window-close]\n{change}"), claim_test("above", "nbsp", "replay_only")
    )
    fill(store, claim, {PAPER: GOOD})
    paper, reduced = evaluate(claim, store)
    assert (paper.verdict, reduced.scale) == ("not run", [what])


def test_a_claim_of_equal_budgets_takes_only_these(store: Store, tmp_path: Path) -> None:
    stable = sweep_file(tmp_path, "pairs: [window-open:window-close]\n", name="stable")
    fixed = sweep_file(tmp_path, "pairs: [window-open:window-close]\nsecond: {stop: fixed}", name="fixed")
    wanted = claim_test("above", "nbsp", "replay_only")
    fill(store, claim_of(stable, wanted), {PAPER: GOOD})
    fill(store, claim_of(fixed, wanted), {PAPER: BAD})
    both = {"sweeps": (stable, fixed)}
    assert scopes(evaluate(claim_of(stable, wanted, **both), store)) == {
        "paper": "confirmed",
        "at reduced scale": "refuted",
    }
    assert scopes(evaluate(claim_of(stable, wanted, **both, stop="fixed"), store)) == {"paper": "refuted"}


def test_over_pairs_and_in_each_pair(store: Store, tmp_path: Path) -> None:
    other = "window-close > window-open"
    file = sweep_file(tmp_path, "pairs: [window-open:window-close, window-close:window-open]")
    over = claim_of(file, claim_test("above", "nbsp", "replay_only"))
    none = {"replay_only": (0.5, 0.6, 0.4, 0.5, 0.5), "nbsp": (0.5, 0.61, 0.4, 0.5, 0.49)}
    fill(store, over, {PAPER: GOOD, other: none})
    (outcome,) = evaluate(over, store)
    assert outcome.verdict == "confirmed"
    assert outcome.parts[0].over_pairs.found.mean == pytest.approx(0.2)
    assert {pair: one.verdict for pair, one in outcome.parts[0].pairs.items()} == {PAPER: "confirmed", other: "refuted"}
    (each,) = evaluate(claim_of(file, claim_test("above", "nbsp", "replay_only"), each_pair=True), store)
    assert each.verdict == "refuted"
    page, *_ = write_reproduction([over], store, tmp_path / "docs")
    assert "| stability, nbsp - replay_only | over pairs | 5 | 0.20 [" in page.read_text()


def test_no_verdict_before_all_seeds_and_pairs_are_there(store: Store, tmp_path: Path) -> None:
    """Four seeds of one pair, then five, then the other pair: a verdict at the paper's scale waits for all of them."""
    other = "window-close > window-open"
    file = sweep_file(tmp_path, "pairs: [window-open:window-close, window-close:window-open]")
    test = claim_test("above", "nbsp", "replay_only")
    over, each = claim_of(file, test), claim_of(file, test, each_pair=True)

    def verdicts(*claims: Claim) -> list[str]:
        return [one.verdict for claim in claims for one in evaluate(claim, store)]

    fill(store, over, {PAPER: some(GOOD, 4)})
    (outcome,) = evaluate(over, store)
    (part,) = outcome.parts
    assert part.missing == {PAPER: 1, other: 5}
    assert part.pairs[PAPER].verdict == "inconclusive"
    assert part.over_pairs.why == "confirmed so far, and 6 numbers not there yet"
    fill(store, over, {PAPER: GOOD})
    assert verdicts(over, each) == ["inconclusive", "inconclusive"]
    (outcome,) = evaluate(each, store)
    assert outcome.parts[0].pairs[PAPER].verdict == "confirmed"
    stale = [tmp_path / "docs/figures/claim-C99.svg", tmp_path / "docs/data/claim-C99.csv"]
    for path in stale:
        path.parent.mkdir(parents=True)
        path.touch()
    page = write_reproduction([each], store, tmp_path / "docs")[0].read_text()
    assert not any(path.exists() for path in stale)
    assert f"- Numbers not there yet: 5 of {other}." in page
    fill(store, over, {other: GOOD})
    assert verdicts(over, each) == ["confirmed", "confirmed"]


def test_a_pair_that_refutes_does_not_wait_for_others(store: Store, tmp_path: Path) -> None:
    file = sweep_file(tmp_path, "pairs: [window-open:window-close, window-close:window-open]")
    test = claim_test("above", "nbsp", "replay_only")
    fill(store, claim_of(file, test), {PAPER: BAD})
    assert scopes(evaluate(claim_of(file, test, each_pair=True), store)) == {"paper": "refuted"}
    assert scopes(evaluate(claim_of(file, test), store)) == {"paper": "inconclusive"}


def test_at_reduced_scale_a_step_does_not_wait_for_the_next(store: Store, tmp_path: Path) -> None:
    steps = [sweep_file(tmp_path, f"pairs: [{pair}]\n{SMALL}", name=pair[:4]) for pair in (
        "drawer-close:door-close", "window-open:window-close"
    )]  # fmt: skip
    claim = claim_of(steps[0], claim_test("above", "nbsp", "replay_only"), sweeps=tuple(steps))
    fill(store, claim, {EASY: GOOD})
    assert scopes(evaluate(claim, store)) == {"paper": "not run", "at reduced scale": "confirmed"}
    fill(store, claim, {PAPER: some(GOOD, 4)})
    _, reduced = evaluate(claim, store)
    assert (reduced.verdict, reduced.parts[0].missing) == ("inconclusive", {PAPER: 1})


def test_what_is_shown_beside_decides_nothing(store: Store, tmp_path: Path) -> None:
    file = sweep_file(tmp_path, "pairs: [window-open:window-close, window-close:window-open]")
    decides = claim_test("above", "base", measure="forgetting", pairs=("window-open:window-close",))
    beside = claim_test("shown", "base", measure="stability")
    claim = claim_of(file, decides, beside, claim_test("shown", "base", measure="forgetting"))
    lost = {"base": (0.0, 0.1, 0.95, 0.2, 0.0)}
    fill(store, claim, {PAPER: lost, "window-close > window-open": lost})
    (outcome,) = evaluate(claim, store)
    assert [(part.test, part.verdict) for part in outcome.parts] == [(decides, "confirmed")]
    assert (outcome.pairs, outcome.seeds, len(outcome.values)) == (1, 5, 5)
    page = write_reproduction([claim], store, tmp_path / "docs")[0].read_text()
    for pair in (PAPER, "window-close > window-open"):
        assert f"| stability | base | {pair} | 0.25 | 0.00, 0.10, 0.95 | 1 of 5 [0.01, 0.72] |" in page
        assert f"| forgetting | base | {pair} | 0.75 | 0.05, 0.90, 1.00 | - |" in page
    rows = pd.read_csv(tmp_path / "docs" / "data" / "claim-C4.csv")
    assert len(rows) == 5 + 10 + 10


def test_without_first_phases_that_did_not_learn(store: Store, tmp_path: Path) -> None:
    claim = claim_of(
        sweep_file(tmp_path, "pairs: [window-open:window-close]"), claim_test("above", "nbsp", "replay_only")
    )
    rates = {"replay_only": (0.5, 0.6, 0.4, 0.5, 0.9), "nbsp": (0.9, 1.0, 0.8, 0.95, 0.1)}
    fill(store, claim, {PAPER: rates}, first_before=(1.0, 1.0, 1.0, 1.0, 0.3))
    (outcome,) = evaluate(claim, store)
    assert (outcome.verdict, outcome.without, outcome.not_learnt) == ("inconclusive", "confirmed", 1)


def test_with_and_without_undefined_scores(store: Store, tmp_path: Path) -> None:
    """Differences 0.4, 0.4, 0.4, 0.45 with skill neurons, and -0.8 of neurons that were drawn at random."""
    other = "window-close > window-open"
    claim = claim_of(
        sweep_file(tmp_path, "pairs: [window-open:window-close, window-close:window-open]"),
        claim_test("above", "nbsp", "replay_only"),
        claim_test("level", "nbsp", at_least=0.9),
    )
    rates = {"replay_only": (0.5, 0.6, 0.4, 0.5, 0.9), "nbsp": (0.9, 1.0, 0.8, 0.95, 0.1)}
    fill(store, claim, {PAPER: rates}, undefined=4)
    fill(store, claim_of(claim.sweeps[0], *claim.tests), {other: GOOD})
    (outcome,) = evaluate(claim, store)
    difference, _ = outcome.parts
    assert (difference.pairs[PAPER].verdict, outcome.undefined, len(outcome.values)) == ("inconclusive", 2, 20)
    defined, _ = outcome.parts_defined
    assert defined.values[PAPER] == pytest.approx({0: 0.4, 1: 0.4, 2: 0.4, 3: 0.45})
    assert (defined.pairs[PAPER].verdict, defined.verdict) == ("confirmed", "confirmed")
    page = write_reproduction([claim], store, tmp_path / "docs")[0].read_text()
    assert "2 of 20 numbers rest on neurons that were drawn at random" in page
    of = "| stability, nbsp - replay_only |"
    assert f"{of} {PAPER} | 1 of 5 | 5 | 0.17 [" in page
    assert f"{of} {PAPER} | left out | 4 | 0.41 [" in page
    assert f"{of} over pairs | 1 of 10 | 5 |" in page
    assert f"{of} over pairs | left out | 4 + 5 |" in page
    assert f"{of} {other} | left out |" not in page
    # 0.9, 1.0, 0.8, 0.95 and 0.1; then without the last.
    assert f"| stability | nbsp | {PAPER} | 1 of 5 | 0.75 |" in page
    assert f"| stability | nbsp | {PAPER} | left out | 0.91 | 0.80, 0.93, 1.00 | 3 of 4 [" in page
    assert f"| stability | replay_only | {PAPER} | left out |" not in page
    rows = pd.read_csv(tmp_path / "docs" / "data" / "claim-C4.csv")
    assert rows["score_undefined"].sum() == 2


def test_a_family_is_corrected(store: Store, tmp_path: Path) -> None:
    """p = 0.033 alone confirms; with another of 0.29 beside it, Holm's 0.066 does not."""
    differences = (0.30, 0.05, 0.25, 0.02, 0.2)
    rates = {
        "nbsp": (0.9,) * 5,
        "replay_only": [0.9 - one for one in differences],
        "base": (0.9, 0.5, 0.95, 0.85, 0.9),
    }
    file = sweep_file(tmp_path, "pairs: [window-open:window-close]")
    both = (claim_test("above", "nbsp", "replay_only"), claim_test("above", "nbsp", "base"))
    fill(store, claim_of(file, *both), {PAPER: rates})
    (alone,) = evaluate(claim_of(file, both[0], family=True), store)
    assert (alone.verdict, alone.parts[0].p_holm < 0.05) == ("confirmed", True)
    (together_,) = evaluate(claim_of(file, *both, family=True), store)
    first = together_.parts[0]
    assert first.p_holm == pytest.approx(2 * alone.parts[0].p_holm)
    assert (first.over_pairs.verdict, first.verdict) == ("inconclusive", "inconclusive")
    assert first.over_pairs.why == "confirmed but for Holm's correction"
    assert first.pairs[PAPER] == first.over_pairs
    # One that is not run yet counts: 0.033 is worth no more with it than when its numbers are there.
    missing = (both[0], claim_test("above", "nbsp", "base", pairs=("window-close:window-open",)))
    wider = claim_of(file, *missing, sweeps=(file, sweep_file(tmp_path, "pairs: [window-close:window-open]", name="b")))
    (waiting,) = evaluate(wider.model_copy(update={"family": True}), store)
    assert (len(waiting.parts), waiting.parts[0].p_holm) == (1, first.p_holm)
    (apart,) = evaluate(claim_of(file, *both), store)
    assert (apart.parts[0].verdict, math.isnan(apart.parts[0].p_holm)) == ("confirmed", True)


def test_not_lower_in_a_family_is_a_test_against_what_may_be_lost(store: Store, tmp_path: Path) -> None:
    """Differences of 0.01, -0.01, 0.02, -0.02 and 0 are surely above -0.05, and as surely not off 0."""
    file = sweep_file(tmp_path, "pairs: [window-open:window-close]")
    test = claim_test("not_lower", "nbsp", "replay_only")
    rates = {"nbsp": (0.51, 0.49, 0.52, 0.48, 0.5), "replay_only": (0.5,) * 5}
    fill(store, claim_of(file, test), {PAPER: rates})
    (outcome,) = evaluate(claim_of(file, test, family=True), store)
    # t = 0.05 / (0.0158 / sqrt(5)) = 7.07 with 4 degrees of freedom
    assert outcome.parts[0].p_holm == pytest.approx(0.0021, abs=1e-4)
    assert outcome.verdict == "confirmed"


def test_a_method_in_several_configurations_is_several_comparisons(store: Store, tmp_path: Path) -> None:
    text = "pairs: [window-open:window-close]\nvary: {method.ewc_coef: [1, 100]}"
    claim = claim_of(sweep_file(tmp_path, text, methods="nbsp, ewc"), claim_test("above", "nbsp", "ewc"))
    fill(store, claim, {PAPER: {"nbsp": GOOD["nbsp"], "ewc": GOOD["replay_only"]}})
    (outcome,) = evaluate(claim, store)
    assert [part.comparison for part in outcome.parts] == [
        f"stability, nbsp - ewc, anchor.coef={coef}" for coef in ("1.0", "100.0")
    ]
    assert outcome.verdict == "confirmed"


def test_a_part_that_is_missing_leaves_a_claim_open(store: Store, tmp_path: Path) -> None:
    file = sweep_file(tmp_path, "pairs: [window-open:window-close]", methods="base, replay_only, nbsp, mask_only")
    claim = claim_of(file, claim_test("above", "nbsp", "replay_only"), claim_test("above", "mask_only", "base"))
    fill(store, claim, {PAPER: GOOD})
    (outcome,) = evaluate(claim, store)
    assert (outcome.verdict, [part.verdict for part in outcome.parts]) == ("inconclusive", ["confirmed"])


def test_numbers_of_skill_neurons(store: Store, tmp_path: Path) -> None:
    text = "pairs: [window-open:window-close]\n"
    file = sweep_file(tmp_path, text, methods="nbsp")
    path = Path(file)
    path.write_text(path.read_text().replace("skill_neurons: 0.2", "skill_neurons: [0.1, 0.2, 0.4, 0.8]"))
    claim = claim_of(file, claim_test("rises", "nbsp"), claim_test("above", "nbsp", measure="forgetting"))
    plan = make_plan("x", claim.loaded)
    for trial in plan.trials:
        number = ("0.1", "0.2", "0.4", "0.8").index(str(trial.skill_neurons))
        # In seed 0 the last two change places: ranks 1, 2, 4, 3 have rho 0.8.
        if trial.seed == 0:
            number = (0, 1, 3, 2)[number]
        # In seed 1 none matters.
        commit(store, plan, trial, 1.0, 0.4 if trial.seed == 1 else 0.2 + 0.2 * number)
    (outcome,) = evaluate(claim, store)
    ranks, forgetting = outcome.parts
    assert ranks.values[PAPER] == pytest.approx({0: 0.8, 1: 0.0, 2: 1.0, 3: 1.0, 4: 1.0})
    # Mean 0.76, s 0.434: 0.76 -+ 2.776 x 0.194
    assert (ranks.verdict, ranks.over_pairs.found.low) == ("confirmed", pytest.approx(0.221, abs=1e-3))
    # All else is said of the paper's number, 0.2.
    assert forgetting.values[PAPER] == pytest.approx(dict.fromkeys(range(SEEDS), 0.6))


def test_first_phases_that_reach_the_threshold(store: Store, tmp_path: Path) -> None:
    claim = claim_of(
        sweep_file(tmp_path, "pairs: [window-open:window-close]"),
        claim_test("reached", at_least=0.9, low_at_least=0.5),
        each_pair=True,
    )
    fill(store, claim, {PAPER: {"base": (0.1, 0.2, 0.3, 0.4, 0.5)}})
    (outcome,) = evaluate(claim, store)
    assert outcome.parts[0].values == {"window-open": dict.fromkeys(range(SEEDS), 1.0)}
    assert (outcome.verdict, round(outcome.parts[0].pairs["window-open"].found.low, 2)) == ("inconclusive", 0.48)


@pytest.mark.parametrize("score", ["paper", "balanced"])
def test_probes(score: Kind, store: Store, tmp_path: Path) -> None:
    """The best neurons silenced leave 0.2 + seed / 50 of success, random ones 0.9 on average."""
    test = claim_test("probe", count=0.1, score=score)
    claim = claim_of(sweep_file(tmp_path, "pairs: [window-open:window-close]"), test)
    fill(store, claim, {PAPER: {"base": (0.1,) * SEEDS}})
    request = Request(("actor",), (0.1,), 50, 5, (score,))
    for target in find_targets("x", claim.loaded, request):
        network = NetworkScores(
            steps=1,
            positive_share=0.5,
            ranking=tuple(range(512)),
            score=(0.5,) * 512,
            constant=(),
            dead=(),
            split_half=None,
            split_half_neurons=0,
        )
        folder, seed = store.phase(target.phase.key), target.phase.spec.seed
        folder.write_probe(scores_record(target, "actor"), network.model_dump(mode="json"))
        for cell in cells(target, {"actor": network}, request):
            wins = {"best": 10 + seed, "random": 45 + (cell.draw or 0) - 2}.get(cell.choice, 50)
            answer = Answer(network="actor", neurons=cell.neurons, success=(1,) * wins + (0,) * (50 - wins))
            if not (seed == 4 and cell.choice == "worst"):
                folder.write_probe(cell.record, answer.model_dump(mode="json"))
    (outcome,) = evaluate(claim, store)
    assert outcome.parts[0].values == {"window-open": pytest.approx({s: 0.7 - s / 50 for s in range(4)})}
    assert (outcome.verdict, outcome.parts[0].missing) == ("inconclusive", {"window-open": 1})
    assert outcome.parts[0].over_pairs.why == "confirmed so far, and 1 number not there yet"
    page = write_reproduction([claim], store, tmp_path / "docs")[0].read_text()
    assert "| window-open | best 10% | 4 | 0.77 | 0.74, 0.77, 0.80 |" in page
    assert "| window-open | random 10% | 4 | 0.10 | 0.10, 0.10, 0.10 |"
    # All 50 episodes are won with the worst silenced; without its worst, seed 4's probe is not whole.
    assert "| window-open | worst 10% | 4 | 0.00 | 0.00, 0.00, 0.00 |" in page
    rows = pd.read_csv(tmp_path / "docs" / "data" / "claim-C4.csv")
    assert list(rows["measured"]) == pytest.approx([0.8 - s / 50 for s in range(4)])
    assert list(rows["measured"] - rows["measured_other"]) == pytest.approx(list(rows["value"]))


def test_a_claim_without_a_sweep_is_not_run(store: Store) -> None:
    data = {"id": "C14", "claim": "x", "where": "y", "decided_by": "z", "lacks": "no sweep"}
    (outcome,) = evaluate(Claim.model_validate(data | {"tests": (claim_test("above", "nbsp", "base"),)}), store)
    assert (outcome.verdict, outcome.without) == ("not run", "not run")
