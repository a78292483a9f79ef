"""An agent of the store as files for others: weights, configuration, and a card with its numbers.

    <folder>/policy.safetensors   the policy's weights, layer by layer
            /config.json          what it is: the phase's spec, the networks' layout, versions
            /README.md            the card: how well it does, how it was made, how to use it

NumPy only: whoever uses an exported agent needs neither this package nor torch.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from safetensors.numpy import save as save_safetensors

from analysis.blocks import Block, Bullets, Heading, Paragraph, TextTable
from analysis.metrics import success_rate
from analysis.pages import markdown
from analysis.statistics import wilson_interval
from analysis.tables.cells import NONE, number
from analysis.words import normalised
from nbsp_ray.agents import load_agent
from nbsp_ray.benchmarks import Continuous, Frames, Score, Spaces, get_benchmark
from nbsp_ray.config.schema import Sac
from nbsp_ray.errors import StoreError
from nbsp_ray.layout import layouts
from nbsp_ray.store import Files, PhaseFolder, Store

Array = npt.NDArray[np.float32]
USE = """\
```python
import numpy as np
from safetensors.numpy import load_file

w = load_file("policy.safetensors")


def act({observation}, noise=None):  # {takes}
{before}    for layer in range({layers}):
        x = w[f"hidden{{layer}}.weight"] @ x + w[f"hidden{{layer}}.bias"]
{normalised}        x = np.maximum(x, 0)
{after}```"""
LAYER_NORM = """\
        x = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
"""
OF_A_VECTOR = """\
    x = observation
"""
OF_FRAMES = """\
    x = frames.astype(np.float32) / 255
    for number, stride in enumerate({strides}):
        size = w[f"conv{{number}}.weight"].shape[-1]
        patches = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))[:, ::stride, ::stride]
        x = np.einsum("cyxij,ocij->oyx", patches, w[f"conv{{number}}.weight"], optimize=True)
        x = np.maximum(x + w[f"conv{{number}}.bias"][:, None, None], 0)
    x = x.reshape(-1)
"""
GAUSSIAN = """\
    mean, log_std = np.split(w["output.weight"] @ x + w["output.bias"], 2)
    if noise is None:
        return np.tanh(mean)
    return np.tanh(mean + np.exp(-5 + 3.5 * (np.tanh(log_std) + 1)) * noise)
"""
CATEGORICAL = """\
    logits = w["output.weight"] @ x + w["output.bias"]
    return int(np.argmax(logits if noise is None else logits + noise))
"""


def export_agent(store_root: str | Path, key: str, folder: str | Path, task: str | None = None) -> list[Path]:
    """Write the agent that the phase `key` (or the one key that begins so) ended with; the paths of its files.

    Args:
        store_root: The results root.
        key: Of the phase.
        folder: For the files.
        task: What it is to be good at, for a method that acts with other weights on each (`packnet`); None: the last.

    Raises:
        StoreError: no such phase, or it is not done, or it has not learnt the task.
    """
    store = Store(store_root)
    phase = store.phase(store.find(key))
    spec, result = phase.spec(), phase.result()
    if spec is None or result is None:
        raise StoreError(f"the phase {phase.key} is not done, so it has no agent to export yet; `nbsp-ray run` goes on")
    learnt = [*spec["earlier_tasks"], spec["task"]]
    if task is not None and task not in learnt:
        raise StoreError(f"the phase {phase.key} has not learnt {task!r}; it has learnt {', '.join(learnt)}")
    actor = load_agent(store, phase.key, task=task).state.actor.numpy()
    spaces = get_benchmark(spec["benchmark"]).task_spaces(spec["task"])
    sac = Sac.model_validate(spec["sac"])
    weights = policy_weights(actor.reshape(-1), sac.hidden, spaces)
    policy = _policy(spaces, sac)
    config = {
        "key": phase.key,
        "policy": policy,
        "acts_on": task or spec["task"],
        "spec": spec,
        "manifest": phase.manifest() or {},
    }
    contents = {
        "policy.safetensors": save_safetensors(weights),
        "config.json": json.dumps(config, indent=1).encode() + b"\n",
        "README.md": markdown.render(_card(phase, spec, result, policy, spaces)).encode(),
    }
    files = Files(Path(folder))
    for name, content in contents.items():
        files.write(name, content)
    return [files.path(name) for name in contents]


def _policy(spaces: Spaces, sac: Sac) -> dict[str, Any]:
    """What the network takes and gives."""
    seen: dict[str, Any] = {}
    if isinstance(spaces.observation, Frames):
        frames = spaces.observation
        seen["frames"] = [frames.stack, *frames.frame]
        seen["convolutions"] = [list(one) for one in frames.convolutions]
    else:
        seen["observations"] = spaces.observation.size
    gaussian = "mean and log_std of a Gaussian, squashed by tanh"
    output = gaussian if isinstance(spaces.action, Continuous) else "logits of a categorical distribution"
    hidden = {"hidden": list(sac.hidden), "layer_norm": sac.layer_norm, "activation": "relu"}
    return {**seen, **hidden, "actions": spaces.action.size, "output": output}


def policy_weights(actor: Array, hidden: Sequence[int], spaces: Spaces) -> dict[str, Array]:
    """The flat actor (P,) as `hidden0.weight` (out, in), `hidden0.bias` (out,), ..., `output.weight`, `output.bias`.

    Before these `conv0.weight` (out, in, k, k), `conv0.bias`, ... of an agent that sees frames.

    Raises:
        StoreError: the number of parameters fits no such network.
    """
    layout = layouts(spaces, tuple(hidden))["actor"]
    if layout.parameters != len(actor):
        raise StoreError(
            f"the stored actor has {len(actor):,} parameters, and a network for {spaces} with hidden layers "
            f"{', '.join(map(str, hidden))} has {layout.parameters:,}"
        )
    return {name: np.ascontiguousarray(one) for name, one in layout.named(actor).items()}


def _card(
    phase: PhaseFolder, spec: Mapping[str, Any], result: Mapping[str, Any], policy: Mapping[str, Any], spaces: Spaces
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
    rows = _evaluations(phase, spec["benchmark"])
    if len(rows):
        judged_by = get_benchmark(spec["benchmark"]).judged_by
        note = "Final evaluations; in brackets Wilson's 95 % interval over the episodes of this one agent."
        if isinstance(judged_by, Score):
            note = f"Final evaluations. {normalised([judged_by])}"
        blocks += [TextTable(rows), Bullets([note, "It says nothing about other seeds: one seed ranks nothing."])]
    else:
        blocks.append(Paragraph("No final evaluation is stored."))
    blocks += [Heading("How to use it"), *_use(policy, spaces)]
    if manifest:
        versions = ", ".join(f"{name} {version}" for name, version in manifest.get("versions", {}).items())
        blocks += [
            Heading("Made with"),
            Paragraph(f"Commit {manifest.get('git_commit') or 'not recorded'}; {versions}."),
        ]
    return blocks


def _use(policy: Mapping[str, Any], spaces: Spaces) -> Iterator[Block]:
    layers, frames = " + ".join(map(str, policy["hidden"])), spaces.observation
    if isinstance(frames, Frames):
        kernels = ", ".join(f"{out} of {size} x {size} every {stride}" for out, size, stride in frames.convolutions)
        seen, layers = str(frames), f"convolutions {kernels}, hidden layers {layers}, all"
        before = OF_FRAMES.format(strides=[stride for _, _, stride in frames.convolutions])
    else:
        seen, layers, before = str(frames), f"hidden layers {layers}", OF_A_VECTOR
    gaussian = isinstance(spaces.action, Continuous)
    acts = f"{spaces.action} in [-1, 1]" if gaussian else str(spaces.action)
    takes = "noise: standard " + (
        "normal, or None for the mean action" if gaussian else "Gumbel, or None for the likeliest"
    )
    yield Paragraph(
        f"`policy.safetensors` has the policy: {seen}, {layers} with ReLU, {acts}. `config.json` has every setting."
    )
    yield Paragraph(
        USE.format(
            observation="frames" if isinstance(frames, Frames) else "observation",
            takes=("uint8, the newest last; " if isinstance(frames, Frames) else "") + takes,
            before=before,
            layers=len(policy["hidden"]),
            normalised=LAYER_NORM if policy["layer_norm"] else "",
            after=GAUSSIAN if gaussian else CATEGORICAL,
        )
    )


def _evaluations(phase: PhaseFolder, benchmark: str) -> pd.DataFrame:
    rows: list[dict[str, str]] = []
    for record in phase.evaluations():
        data = phase.evaluation(record)
        if data is None:
            continue
        rate, episodes = success_rate(data["success"]), len(data["success"])
        low, high = wilson_interval(rate, episodes)
        row = {
            "task": data["task"],
            "policy": "most likely action" if data["mode"] == "deterministic" else "stochastic",
            "goals": "of training" if data["goals"] == "train" else "held out",
        }
        if data["success_rate"] is None:
            scored = {"mean score": number(data["mean_return"], digits=1)}
            best = get_benchmark(benchmark).normalised(data["task"], data["mean_return"])
            scored |= {"normalised": NONE if best is None else number(best), "episodes": f"{len(data['env_return']):,}"}
            rows.append(row | scored)
        else:
            shown = f"{number(rate)} [{number(low)}, {number(high)}]"
            rows.append(row | {"success rate": shown, "episodes": f"{episodes:,}"})
    return pd.DataFrame(rows)
