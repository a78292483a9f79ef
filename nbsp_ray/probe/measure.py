"""Silencing neurons of a trained first phase, and measuring what that breaks (`nbsp-ray probe`).

The actor is measured on the first task by what that is judged by: success, or the score of whole episodes. Silencing
neurons of a critic cannot change how the agent acts, so a critic is measured by what it knew: its values and its TD
error on D_pre. Everything runs on the CPU with one thread, so that the same store gives the same numbers anywhere;
every answer is kept, and none is measured twice.
"""

import errno
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from nbsp_ray.benchmarks import Env, get_benchmark
from nbsp_ray.errors import PhaseError
from nbsp_ray.learning.agent import NETWORKS, Agent
from nbsp_ray.learning.evaluation import EpisodePlan, play
from nbsp_ray.learning.final import read_rollouts
from nbsp_ray.learning.importance import taylor_importance
from nbsp_ray.learning.past import load_agent
from nbsp_ray.learning.replay import AnyBatch, AnyReplay, replay_of
from nbsp_ray.learning.rollouts import Rollouts
from nbsp_ray.learning.scores import Kind, NeuronStatistics, measure_network, rank, values
from nbsp_ray.learning.seeding import Stream, generator
from nbsp_ray.probe.request import (
    Answer,
    Cell,
    Ints,
    NetworkScores,
    Probed,
    Request,
    Scores,
    Target,
    cells,
    scores_record,
)
from nbsp_ray.store import Store

T = TypeVar("T")
Report = Callable[[int, int, str], None]
"""Told how many measurements are done, how many there are, and what is being measured."""


def probe(store: Store, targets: Sequence[Target], request: Request, report: Report) -> list[Probed]:
    """Measure every cell of `request` that the store does not have yet; all targets must be ready.

    Raises:
        PhaseError: a phase lacks what the measurement needs.
    """
    torch.set_num_threads(1)
    asked: list[tuple[Target, Scores, list[Cell]]] = []
    phase = None
    for number, target in enumerate(targets):
        report(number, len(targets), f"{target.label}: scoring its neurons")
        phase = _open(store, target, phase)
        scores: Scores = {network: phase.scores(target, network) for network in request.networks}
        asked.append((target, scores, list(cells(target, scores, request))))
    total, done = sum(len(found) for _, _, found in asked), 0
    probed: list[Probed] = []
    for target, scores, found in asked:
        phase = _open(store, target, phase)
        answers: list[tuple[Cell, Answer]] = []
        for cell in found:
            report(done, total, f"{target.label}: {cell.words}")
            answers.append((cell, phase.answer(cell)))
            done += 1
        probed.append(Probed(target, scores, tuple(answers)))
    report(total, total, "all measured")
    return probed


def silence(agent: Agent, network: str, neurons: Sequence[int]) -> None:
    """Zero the weights on what some neurons of `actor`, `q1` or `q2` give, as if their activations were 0.

    Their own weights may not be zeroed instead: where a layer is normalised, a sum of 0 is no activation of 0.
    """
    part, member = NETWORKS[network]
    chosen = np.zeros(agent.layout(network).neurons, dtype=np.bool_)
    chosen[list(neurons)] = True
    parameters = torch.from_numpy(agent.layout(network).outgoing(chosen)).to(agent.device)
    getattr(agent.state, part)[:, member].masked_fill_(parameters, 0.0)


class _Phase:
    """A trained first phase at hand."""

    def __init__(self, store: Store, target: Target) -> None:
        self.target = target
        self._store, self._spec = store, target.phase.spec
        self._folder = store.phase(target.phase.key)
        self._benchmark = get_benchmark(self._spec.benchmark)
        self._spaces = self._benchmark.task_spaces(self._spec.task)
        self._measured: dict[str, list[NeuronStatistics]] = {}

    def scores(self, target: Target, network: str) -> NetworkScores:
        """Rank the neurons of a network; read it from the store, or measure it now."""
        kind, record = target.kind, scores_record(target, network)
        stored = self._folder.probe(record)
        if stored is not None:
            return NetworkScores.model_validate(stored)
        whole, *halves = self._agreements(network)
        importance = self._importance[network] if kind == "importance" else None
        layer = self.target.layer_of_neurons
        ranking = rank(kind, whole, layer, importance)
        reliability, active = split_half(kind, halves, layer)
        scores = NetworkScores(
            steps=len(self._rollouts.criterion),
            positive_share=whole.positive_share,
            ranking=None if ranking is None else tuple(ranking.tolist()),
            score=tuple(values(kind, whole, layer, importance).tolist()),
            constant=tuple(np.flatnonzero(whole.constant).tolist()),
            dead=tuple(np.flatnonzero(whole.constant & (whole.mean == 0)).tolist()),
            split_half=reliability,
            split_half_neurons=active,
        )
        self._keep(record, scores.model_dump(mode="json"))
        return scores

    def _keep(self, record: str, found: Mapping[str, Any]) -> None:
        """Store it, if this user may write in the results root: else it is measured anew the next time."""
        try:
            self._folder.write_probe(record, found)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise

    def answer(self, cell: Cell) -> Answer:
        """Measure what silencing the neurons of `cell` does, unless the store has it."""
        stored = self._folder.probe(cell.record)
        if stored is not None:
            return Answer.model_validate(stored)
        silence(self._whole_agent(), cell.network, cell.neurons)
        found = self._play(cell.effort) if cell.network == "actor" else self._compare_values(cell)
        answer = Answer(network=cell.network, neurons=cell.neurons, **found)
        self._keep(cell.record, answer.model_dump(mode="json"))
        return answer

    def _needed(self, what: str, found: T | None) -> T:
        if found is None:
            raise PhaseError(
                f"the {what} of phase {self._folder.key} is missing from {self._folder.path}; remove that folder and "
                "run the sweep again: it trains what is missing"
            )
        return found

    @cached_property
    def _agent(self) -> Agent:
        return load_agent(self._store, self._folder.key)

    @cached_property
    def _weights(self) -> Mapping[str, npt.NDArray[np.generic]]:
        """The weights before anything was silenced."""
        return self._agent.arrays()

    def _whole_agent(self) -> Agent:
        """The agent with nothing silenced."""
        weights = self._weights  # Read first: these are the agent's own until it is silenced.
        self._agent.restore(weights, weights_only=True)
        return self._agent

    @cached_property
    def _replay(self) -> AnyReplay:
        """D_pre."""
        return replay_of(self._spaces, self._needed("replay buffer", self._folder.replay()))

    # The actor

    @cached_property
    def _env(self) -> Env:
        return self._benchmark.make_env(self._spec.task, self._spec.seed)

    def _play(self, episodes: int) -> dict[str, Any]:
        """Play episodes of the first task with the stochastic policy; every cell meets the same chances."""
        env, policy, by_success = self._env, self._agent.policy(), self.target.measure == "success"
        plans = [
            EpisodePlan(number % env.variations, generator(self._spec.seed, 0, Stream.PROBE_EPISODES, number))
            for number in range(episodes)
        ]
        played = [play(policy, env, plan, stop_at_success=by_success) for plan in plans]
        env_steps = sum(episode.env_steps for episode in played)
        if by_success:
            return {"success": tuple(int(bool(episode.success)) for episode in played), "env_steps": env_steps}
        return {"env_return": tuple(episode.env_return for episode in played), "env_steps": env_steps}

    # The critics

    @cached_property
    def _batch(self) -> AnyBatch:
        """Transitions of D_pre, as one lane."""
        rng = generator(self._spec.seed, 0, Stream.PROBE_TRANSITIONS, 0)
        return replay_of(self._spaces, self._replay.subset(self.target.transitions, rng)).all()

    @cached_property
    def _noise(self) -> torch.Tensor:
        """The noise of the next actions in the targets, (1, B, `problem.noise`)."""
        rng = generator(self._spec.seed, 0, Stream.PROBE_TRANSITIONS, 1)
        shape = (1, self._batch.rows.shape[1], self._agent.problem.noise)
        return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))

    @cached_property
    def _whole(self) -> torch.Tensor:
        """Both Q with nothing silenced, (2, B)."""
        critic = torch.from_numpy(np.asarray(self._weights["critic"]))
        return self._agent.problem.q_values(critic, self._batch)[0]

    @torch.no_grad()
    def _compare_values(self, cell: Cell) -> dict[str, float]:
        """Change of one Q and its TD error, both over the standard deviation of the whole Q; nothing if that is 0."""
        state, problem, member = self._agent.state, self._agent.problem, NETWORKS[cell.network][1]
        whole = self._whole[member].double()
        silenced = problem.q_values(state.critic, self._batch)[0, member]
        errors = problem.critic_losses(state, state.critic, self._batch, self._noise)[0, member]
        spread = float(whole.std(correction=0))
        if spread == 0:
            return {}
        change, error = (silenced.double() - whole).abs().mean(), errors.double().sqrt().mean()
        return {"value_change": float(change) / spread, "td_error": float(error) / spread}

    # The scores

    @cached_property
    def _rollouts(self) -> Rollouts:
        record = self.target.rollouts.id
        return self._needed(f"evaluation {record}, step by step,", read_rollouts(self._folder, record, self._spaces))

    @cached_property
    def _importance(self) -> Mapping[str, npt.NDArray[np.float64]]:
        """By network: on the very batches of a method that freezes what matters to the loss after this phase."""
        rng = torch.Generator()
        rng.manual_seed(int(generator(self._spec.seed, 1, Stream.METHOD).integers(2**63)))
        return taylor_importance(self._whole_agent(), self._replay, rng)

    def _agreements(self, network: str) -> list[NeuronStatistics]:
        """Agreements of its neurons on all steps and, if there are two episodes, on those of odd and of even ones."""
        if network not in self._measured:
            agent, rollouts = self._whole_agent(), self._rollouts
            odd = rollouts.episode_of_steps() % 2 == 1
            parts = [None, *((np.flatnonzero(odd), np.flatnonzero(~odd)) if odd.any() else ())]
            self._measured[network] = [measure_network(agent, network, rollouts, steps) for steps in parts]
        return self._measured[network]


def _open(store: Store, target: Target, last: _Phase | None) -> _Phase:
    """The phase of `target`: `last` if it is that one, with all that it has read and measured."""
    same = last is not None and (last.target.phase, last.target.rollouts) == (target.phase, target.rollouts)
    return last if last is not None and same else _Phase(store, target)


def split_half(kind: Kind, halves: Sequence[NeuronStatistics], layer: Ints) -> tuple[float | None, int]:
    """Rank correlation of the score on two halves of the episodes, and the neurons constant in neither half."""
    if kind == "importance" or not halves:
        return None, 0
    one, other = halves
    active = ~one.constant & ~other.constant
    defined = all(rank(kind, half, layer) is not None for half in halves)
    found = [values(kind, half, layer)[active] for half in halves]
    return (spearman(*found) if defined else None), int(active.sum())


def spearman(one: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> float | None:
    """Spearman's rank correlation of two (n,), ties at their mean rank; None where it is undefined."""
    from scipy.stats import rankdata

    # Rounded, as k/T and 1 - (T - k)/T are one score but not always one float.
    ranks = [rankdata(each.round(12)) for each in (one, other)]
    if len(one) < 3 or any(np.ptp(each) == 0 for each in ranks):
        return None
    return float(np.corrcoef(*ranks)[0, 1])
