"""FLOPs counted by hand, ratios within rounds, and what a run of learning is said to have reached."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "perf"))

from contenders import ENTRIES
from flops import continuous, discrete
from learning_table import first_reached, mean_success, write
from pool import Row
from share import OTHER, PRODUCTS, kind_of
from table import over_floor, ratios, spread, targets_table, updates_table, where_table

RATES = {"gemm-fp32": [100.0, 50.0], "gemm-bf16": [200.0, 100.0], "cleanrl": [10.0, 5.0], "ours": [20.0, 8.0]}


def rows() -> dict[str, Row]:
    return {name: Row(rounds=rates) for name, rates in RATES.items()} | {"ours-bf16": Row(failed="no | such thing")}


def test_flops_of_a_small_network_by_hand() -> None:
    # 2 observations, 1 action, hidden [3]: actor 2x3 + 3x2 = 12, critic 3x3 + 3x1 = 12 multiply-adds.
    # Forward 2 x 12 + 6 x 12 = 96; backward of the actor 12 + 12 - 6 = 18, of the critics 2 (12 + 12 - 9) = 30; to the
    # drawn actions 2 (3 + 1x3) = 12. Wasted: 12 for alpha, 24 weight gradients, 2 x 2x3 = 12 columns.
    found = continuous(observations=2, actions=1, batch=5, hidden=(3,))
    assert found.needed == 2 * 5 * (96 + 18 + 30 + 12)
    assert found.executed - found.needed == 2 * 5 * (12 + 24 + 12)


def test_flops_of_pixels_by_hand() -> None:
    network = 3_276_800 + 2_654_208 + 1_806_336 + 1_605_632 + 512 * 6
    assert discrete(6, 64).needed == 2 * 64 * (8 * network + 3 * (2 * network - 3_276_800))


def test_ratios_are_taken_within_rounds() -> None:
    assert ratios(RATES["ours"], RATES["cleanrl"]) == [2.0, 1.6]
    assert spread([2.0, 1.6, 1.7]) == "1.70 (1.60-2.00)"
    products = continuous(39, 4, 256, (256, 256, 256))
    assert over_floor(rows(), "ours", products) == pytest.approx(
        [100 / (20 * products.needed / 1e9), 50 / (8 * products.needed / 1e9)]
    )


def test_a_contender_that_fails_is_a_row_that_says_why() -> None:
    text = "\n".join(updates_table(rows(), "cleanrl", continuous(39, 4, 256, (256, 256))))
    assert f"| {ENTRIES['ours'].name} | 14.0 (8.0-20.0) |" in text
    assert f"| {ENTRIES['ours-bf16'].name} | failed: no / such thing |" in text


def test_targets_are_judged_by_the_median_and_missing_ones_are_not_met() -> None:
    steps = {"ours": Row(rounds=[10.0], together=[19.5])}
    found: dict[str, Any] = {"updates, wide": rows(), "steps": steps, "startup": {"ours": Row(rounds=[9.0])}}
    found["startup"] |= {"ours-compiled": Row(rounds=[7.0]), "ours-bf16": Row(rounds=[8.5])}
    del found["updates, wide"]["ours-bf16"]
    products = continuous(39, 4, 256, (256, 256, 256))
    lines = targets_table(found, products, 2)
    verdicts = {tuple(cell.strip() for cell in line.split("|")[1:6]) for line in lines[2:] if line}
    assert ("must", "fp32 over the reference", ">= 1.6", "1.80", "met") in verdicts
    assert ("aim", "fp32 over the reference", ">= 1.9", "1.80", "**missed**") in verdicts
    assert ("must", "two processes over one", ">= 1.9", "1.95", "met") in verdicts
    assert ("must", "start-up of the slower precision, eager, seconds", "<= 8", "9.00", "**missed**") in verdicts
    assert ("must", "start-up of the slower precision, compiled, seconds", "<= 8", "8.50", "**missed**") in verdicts
    assert ("must", "bf16 over the reference", ">= 2.7", "-", "not measured") in verdicts
    # The reference makes 10 and 5 updates a second, where products alone would allow 100 / 1.14 and 50 / 1.14.
    (asks,) = (line.split("|")[6].strip() for line in lines if "fp32 over the reference | >= 1.6" in line)
    assert float(asks) == pytest.approx(10 / (products.needed / 1e9) / 1.6, abs=0.006)


def test_what_lies_beyond_the_floor_is_said_to_be_out_of_reach() -> None:
    found: dict[str, Any] = {"updates, wide": rows(), "steps": {}, "startup": {}}
    # Of 10 updates a second 2.7 times are 27, and products at 20 GFLOP/s allow 20 / 1.14.
    found["updates, wide"] |= {"gemm-bf16": Row(rounds=[20.0]), "ours-bf16": Row(rounds=[12.0])}
    lines = targets_table(found, continuous(39, 4, 256, (256, 256, 256)), 1)
    (line,) = (line for line in lines if "bf16 over the reference | >= 2.7" in line)
    assert "| 1.20 | **missed**, and no code could meet it here | 0.65 |" in line


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("aten::bmm", PRODUCTS),
        ("aoti_torch_cpu_bmm_out", PRODUCTS),
        ("graph_0_cpp_fused_add_bmm_relu_view_3", "activations"),
        ("graph_1_cpp_fused_threshold_backward_7", "activations"),
        ("graph_0_cpp_fused_add_cat_lerp_sqrt_sub_9", "Adam and targets"),
        ("graph_0_cpp_fused_exp_mul_tanh_1", "losses, copies, casts"),
        ("aten::index_select", OTHER),
    ],
)
def test_where_the_time_goes_is_told_by_names(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_what_is_outside_of_the_graphs_is_what_is_left() -> None:
    profiled = {
        "ours-compiled": Row(milliseconds={PRODUCTS: 6.0, "Adam and targets": 1.0, "activations": 0.5, OTHER: 9.0}),
        "ours-bf16": Row(failed="no such thing"),
    }
    measured = rows() | {"ours-compiled": Row(rounds=[100.0, 100.0]), "gemm-fp32": Row(rounds=[200.0])}
    products = continuous(39, 4, 256, (256, 256, 256))
    text = "\n".join(where_table(profiled, measured, products))
    floor = products.needed / 200e9 * 1e3
    assert f"| {ENTRIES['ours-compiled'].name} | 10.00 | {floor:.2f} | 6.00 | 1.00 | 0.50 | 0.00 | 2.50 |" in text
    assert f"| {ENTRIES['ours-bf16'].name} | failed: no such thing |" in text


def test_seconds_of_different_machines_are_kept_apart(tmp_path: Path) -> None:
    protocol = {"budget": 200, "learning_starts": 0, "eval_every": 100, "eval_episodes": 1, "threshold": 0.9}
    for seed, (cpu, seconds) in enumerate([("slow", 30), ("slow", 50), ("fast", 10)]):
        evaluations = [{"env_steps": 100, "cpu_seconds": seconds, "success": 1.0}]
        run = {"name": "ours", "task": "reach", "seed": seed, "cpu": cpu, "evaluations": evaluations}
        (tmp_path / f"{seed}.json").write_text(json.dumps(run | {"protocol": protocol | {"in_a_row": 3}}))
    write(tmp_path / "page.md", tmp_path, {"ours": "ours, fp32"})
    page = (tmp_path / "page.md").read_text()
    assert "Runs on slow (2), fast (1)." in page
    assert "| ours, fp32 | 3 of 3 | 100 (100 to 100) | 10 (10 to 10) on fast; 40 (30 to 50) on slow | 1.00 |" in page


def test_what_a_run_reached() -> None:
    curve = [(0, 1.0), (100, 0.9), (200, 0.5), (300, 0.9), (400, 1.0), (500, 0.8)]
    evaluations = [{"env_steps": at, "cpu_seconds": at / 10, "success": success} for at, success in curve]
    protocol = {"budget": 800, "eval_every": 100, "learning_starts": 200, "threshold": 0.9}
    run = {"protocol": protocol, "evaluations": evaluations}
    assert first_reached(run, "env_steps") == 300
    assert first_reached(run, "cpu_seconds") == 30
    assert first_reached(run | {"evaluations": evaluations[:3]}, "cpu_seconds") == math.inf
    # Evaluations 1 to 5, then the mean of the last three for the three that are left.
    assert mean_success(run) == pytest.approx((0.9 + 0.5 + 0.9 + 1.0 + 0.8 + 3 * 0.9) / 8)
