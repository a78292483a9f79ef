"""An agent of the store as files for others: weights, configuration, and a card with its numbers.

    <folder>/policy.safetensors   the policy's weights, layer by layer
            /config.json          what it is: the phase's spec, the networks' layout, versions
            /README.md            the card: how well it does, how it was made, how to use it

NumPy only: whoever uses an exported agent needs neither this package nor torch.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from safetensors.numpy import save as save_safetensors

from analysis import markdown
from analysis.cells import number
from analysis.document import Block, Bullets, Heading, Paragraph, TextTable
from analysis.metrics import success_rate
from analysis.statistics import wilson_interval
from nbsp_ray.benchmarks import get_benchmark
from nbsp_ray.config import Sac
from nbsp_ray.errors import StoreError
from nbsp_ray.store import Files, PhaseFolder, Store

Array = npt.NDArray[np.float32]
USE = """\
```python
import numpy as np
from safetensors.numpy import load_file

w = load_file("policy.safetensors")


def act(observation, noise=None):  # noise: standard normal, or None for the mean action
    x = observation
    for layer in range({layers}):
        x = np.maximum(w[f"hidden{{layer}}.weight"] @ x + w[f"hidden{{layer}}.bias"], 0)
    mean, log_std = np.split(w["output.weight"] @ x + w["output.bias"], 2)
    if noise is None:
        return np.tanh(mean)
    return np.tanh(mean + np.exp(-5 + 3.5 * (np.tanh(log_std) + 1)) * noise)
```"""


def find_key(store: Store, begun: str) -> str:
    """The one key of a phase in the store that begins so, as reports abbreviate it.

    Raises:
        StoreError: there is none, or there are several.
    """
    found = [key for key in store.phases() if key.startswith(begun)] if begun else []
    if len(found) == 1:
        return found[0]
    if found:
        raise StoreError(
            f"{begun!r} begins {len(found)} keys in {store.root}; give more digits: {', '.join(found[:5])}"
        )
    raise StoreError(
        f"{store.root} has no phase {begun!r}; the table `Every trial` of a report has the keys, and --root names "
        "another results root"
    )


def export_agent(store_root: str | Path, key: str, folder: str | Path) -> list[Path]:
    """Write the agent that the phase `key` (or the one key that begins so) ended with; the paths of its files.

    Raises:
        StoreError: no such phase, or it is not done.
    """
    store = Store(store_root)
    phase = store.phase(find_key(store, key))
    spec, result, arrays = phase.spec(), phase.result(), phase.agent()
    if spec is None or result is None or arrays is None:
        raise StoreError(f"the phase {phase.key} is not done, so it has no agent to export yet; `nbsp-ray run` goes on")
    sac = Sac.model_validate(spec["sac"])
    hidden = get_benchmark(spec["benchmark"]).layers(sac)
    weights = policy_weights(arrays["actor"].reshape(-1), hidden, _actions(spec))
    policy = {
        "observations": int(weights["hidden0.weight"].shape[1]),
        "hidden": list(hidden),
        "actions": _actions(spec),
        "activation": "relu",
        "output": "mean and log_std of a Gaussian, squashed by tanh",
    }
    config = {
        "key": phase.key,
        "policy": policy,
        "spec": spec,
        "manifest": phase.manifest() or {},
    }
    contents = {
        "policy.safetensors": save_safetensors(weights),
        "config.json": json.dumps(config, indent=1).encode() + b"\n",
        "README.md": markdown.render(_card(phase, spec, result, policy)).encode(),
    }
    files = Files(Path(folder))
    for name, content in contents.items():
        files.write(name, content)
    return [files.path(name) for name in contents]


def _actions(spec: Mapping[str, Any]) -> int:
    return get_benchmark(spec["benchmark"]).task_spaces(spec["task"]).actions


def policy_weights(actor: Array, hidden: Sequence[int], actions: int) -> dict[str, Array]:
    """The flat actor (P,) as `hidden0.weight` (out, in), `hidden0.bias` (out,), ..., `output.weight`, `output.bias`.

    Raises:
        StoreError: the number of parameters fits no such network.
    """
    widths = [*hidden, 2 * actions]
    after_first = sum(out * (into + 1) for into, out in pairwise(widths))
    inputs, rest = divmod(len(actor) - after_first - widths[0], widths[0])
    if rest or inputs < 1:
        raise StoreError(f"the stored actor has {len(actor):,} parameters, which fits no network of layers {widths}")
    names = [*(f"hidden{number}" for number in range(len(hidden))), "output"]
    weights: dict[str, Array] = {}
    start = 0
    for name, into, out in zip(names, [inputs, *widths], widths, strict=False):
        for kind, shape in (("weight", (out, into)), ("bias", (out,))):
            end = start + int(np.prod(shape))
            weights[f"{name}.{kind}"] = np.ascontiguousarray(actor[start:end].reshape(shape))
            start = end
    return weights


def _card(
    phase: PhaseFolder, spec: Mapping[str, Any], result: Mapping[str, Any], policy: Mapping[str, Any]
) -> list[Block]:
    tasks = [*spec["earlier_tasks"], spec["task"]]
    ingredients = ", ".join(str(one["kind"]) for one in spec["ingredients"]) or "none (plain SAC)"
    manifest = phase.manifest() or {}
    blocks: list[Block] = [
        Heading(f"An agent that learnt {' > '.join(tasks)}", level=1),
        Paragraph(
            f"Benchmark `{spec['benchmark']}`, seed {spec['seed']}. The last of these tasks was learnt for "
            f"{result['env_steps']:,} env steps (stopped: {result['stop_reason']}); what the method added to SAC: "
            f"{ingredients}. Phase `{phase.key}`, algorithm version {spec['algorithm_version']}."
        ),
        Heading("How well it does"),
    ]
    rows = _evaluations(phase)
    if len(rows):
        note = "Final evaluations; in brackets Wilson's 95 % interval over the episodes of this one agent."
        blocks += [TextTable(rows), Bullets([note, "It says nothing about other seeds: one seed ranks nothing."])]
    else:
        blocks.append(Paragraph("No final evaluation is stored."))
    layers = " + ".join(map(str, policy["hidden"]))
    blocks += [
        Heading("How to use it"),
        Paragraph(
            f"`policy.safetensors` has the policy: {policy['observations']} observations, hidden layers {layers} with "
            f"ReLU, {policy['actions']} actions in [-1, 1]. `config.json` has every setting."
        ),
        Paragraph(USE.format(layers=len(policy["hidden"]))),
    ]
    if manifest:
        versions = ", ".join(f"{name} {version}" for name, version in manifest.get("versions", {}).items())
        blocks += [
            Heading("Made with"),
            Paragraph(f"Commit {manifest.get('git_commit') or 'not recorded'}; {versions}."),
        ]
    return blocks


def _evaluations(phase: PhaseFolder) -> pd.DataFrame:
    rows: list[dict[str, str]] = []
    for record in phase.evaluations():
        data = phase.evaluation(record)
        if data is None:
            continue
        rate, episodes = success_rate(data["success"]), len(data["success"])
        low, high = wilson_interval(rate, episodes)
        policy = "mean action" if data["mode"] == "deterministic" else "stochastic"
        rate_text = f"{number(rate)} [{number(low)}, {number(high)}]"
        goals = "of training" if data["goals"] == "train" else "held out"
        row = {"task": data["task"], "policy": policy, "goals": goals, "success rate": rate_text}
        rows.append(row | {"episodes": f"{episodes:,}"})
    return pd.DataFrame(rows)
