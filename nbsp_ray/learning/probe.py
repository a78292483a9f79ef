"""Silencing neurons of a trained first phase, and measuring what that breaks (`nbsp-ray probe`).

The actor is measured by its success on the first task. Silencing neurons of a critic cannot change how the agent acts,
so a critic is measured by what it knew: its values and its TD error on D_pre. Everything runs on the CPU with one
thread, so that the same store gives the same numbers anywhere; every answer is kept, and none is measured twice.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from nbsp_ray.benchmarks import Env, PixelSpaces, get_benchmark
from nbsp_ray.errors import PhaseError
from nbsp_ray.learning.agent import NETWORKS, Agent
from nbsp_ray.learning.evaluation import EpisodePlan, play
from nbsp_ray.learning.gaussian import Gaussian
from nbsp_ray.learning.replay import Batch, Replay
from nbsp_ray.learning.seeding import Stream, generator
from nbsp_ray.methods import Arrays
from nbsp_ray.methods._scores import Agreement, measure
from nbsp_ray.probing import (
    TRANSITIONS,
    Answer,
    Cell,
    NetworkScores,
    Probed,
    Request,
    Scores,
    Target,
    cells,
    rank,
    scores_record,
    spearman,
    values,
)
from nbsp_ray.store import Store

BLOCK = 4096
"""Scoring steps per forward pass."""
Report = Callable[[int, int, str], None]
"""Told how many measurements are done, how many there are, and what is being measured."""


def probe(store: Store, targets: Sequence[Target], request: Request, report: Report) -> list[Probed]:
    """Measure every cell of `request` that the store does not have yet; all targets must be ready.

    Raises:
        PhaseError: a phase lacks what the measurement needs.
    """
    torch.set_num_threads(1)
    asked: list[tuple[Target, Scores, list[Cell]]] = []
    for number, target in enumerate(targets):
        report(number, len(targets), f"{target.label}: scoring its neurons")
        scores = _Phase(store, target).scores()
        asked.append((target, scores, list(cells(target, scores, request))))
    total, done = sum(len(found) for _, _, found in asked), 0
    probed: list[Probed] = []
    for target, scores, found in asked:
        phase = _Phase(store, target)
        answers: list[tuple[Cell, Answer]] = []
        for cell in found:
            report(done, total, f"{target.label}: {cell.words}")
            answers.append((cell, phase.answer(cell, request.episodes)))
            done += 1
        probed.append(Probed(target, scores, tuple(answers)))
    report(total, total, "all measured")
    return probed


def silence(agent: Agent, network: str, neurons: Sequence[int]) -> None:
    """Zero the incoming weights and the bias of some neurons of `actor`, `q1` or `q2`: their ReLU then gives 0."""
    part, member = NETWORKS[network]
    chosen = np.zeros(agent.layout(network).neurons, dtype=np.float32)
    chosen[list(neurons)] = 1
    parameters = torch.from_numpy(agent.layout(network).spread(chosen, output=0) > 0).to(agent.device)
    getattr(agent.state, part)[:, member].masked_fill_(parameters, 0.0)


class _Phase:
    """A trained first phase at hand."""

    def __init__(self, store: Store, target: Target) -> None:
        self.target = target
        self._seed = target.phase.spec.seed
        self._folder = store.phase(target.phase.key)
        self._benchmark = get_benchmark(target.phase.spec.benchmark)
        spaces = self._benchmark.task_spaces(target.phase.spec.task)
        if isinstance(spaces, PixelSpaces):
            raise PhaseError(
                f"a probe measures success on observation vectors, and {self._benchmark.name} has scores and frames"
            )
        self._spaces = spaces

    def scores(self) -> Scores:
        """How its neurons rank, from the store or measured now."""
        record = scores_record(self.target)
        stored = self._folder.probe(record)
        if stored is not None:
            return Scores.model_validate(stored)
        rollouts = self._folder.rollouts(self.target.rollouts.id)
        if rollouts is None:
            raise self._lacks(f"evaluation {self.target.rollouts.id}, step by step,")
        scores = Scores(
            kind=self.target.kind,
            rollouts=self.target.rollouts.id,
            steps=len(rollouts["success"]),
            success_share=float(rollouts["success"].mean()),
            networks={network: self._network_scores(network, rollouts) for network in NETWORKS},
        )
        self._folder.write_probe(record, scores.model_dump(mode="json"))
        return scores

    def answer(self, cell: Cell, episodes: int) -> Answer:
        """What silencing the neurons of `cell` does, from the store or measured now."""
        record = cell.record(episodes)
        stored = self._folder.probe(record)
        if stored is not None:
            return Answer.model_validate(stored)
        self._agent.restore(self._weights, weights_only=True)
        silence(self._agent, cell.network, cell.neurons)
        if cell.network == "actor":
            answer = Answer(network=cell.network, neurons=cell.neurons, success=self._play(episodes))
        else:
            change, error = self._compare_values(NETWORKS[cell.network][1])
            answer = Answer(network=cell.network, neurons=cell.neurons, value_change=change, td_error=error)
        self._folder.write_probe(record, answer.model_dump(mode="json"))
        return answer

    def _lacks(self, what: str) -> PhaseError:
        return PhaseError(
            f"the {what} of phase {self._folder.key} is missing from {self._folder.path}; remove that folder and run "
            "the sweep again: it trains what is missing"
        )

    @cached_property
    def _weights(self) -> Arrays:
        weights = self._folder.agent()
        if weights is None:
            raise self._lacks("agent")
        return weights

    @cached_property
    def _agent(self) -> Agent:
        chance = generator(self._seed, 0, Stream.NETWORKS)
        agent = Agent(self.target.phase.spec.sac, self._spaces, torch.device("cpu"), chance)
        agent.restore(self._weights, weights_only=True)
        return agent

    @cached_property
    def _problem(self) -> Gaussian:
        return Gaussian(self.target.phase.spec.sac, self._spaces)

    @cached_property
    def _env(self) -> Env:
        return self._benchmark.make_env(self.target.phase.spec.task, self._seed)

    # The actor

    def _play(self, episodes: int) -> tuple[int, ...]:
        """Success of each episode of the first task: the stochastic policy, and the same chances for every cell."""
        env, policy = self._env, self._agent.policy()
        plans = [
            EpisodePlan(number % env.variations, generator(self._seed, 0, Stream.PROBE_EPISODES, number))
            for number in range(episodes)
        ]
        played = [play(policy, env, plan, stop_at_success=True) for plan in plans]
        return tuple(int(bool(episode.success)) for episode in played)

    # The critics

    @cached_property
    def _batch(self) -> Batch:
        """Transitions of D_pre, (1, B, width)."""
        rows = self._folder.replay()
        if rows is None:
            raise self._lacks("replay buffer")
        chance = generator(self._seed, 0, Stream.PROBE_TRANSITIONS, 0)
        return Batch(torch.from_numpy(Replay.of(self._spaces, rows).subset(TRANSITIONS, chance))[None], self._spaces)

    @cached_property
    def _noise(self) -> torch.Tensor:
        """Of the next actions in the targets, (1, B, A)."""
        chance = generator(self._seed, 0, Stream.PROBE_TRANSITIONS, 1)
        shape = (1, self._batch.rows.shape[1], self._spaces.actions)
        return torch.from_numpy(chance.standard_normal(shape, dtype=np.float32))

    @cached_property
    def _whole(self) -> torch.Tensor:
        """Both Q with nothing silenced, (2, B)."""
        critic = torch.from_numpy(np.asarray(self._weights["critic"]))
        return self._problem.q_values(critic, self._batch)[0]

    @torch.no_grad()
    def _compare_values(self, member: int) -> tuple[float | None, float | None]:
        """Change of one Q and its TD error, both over the standard deviation of the whole Q; None if that is 0."""
        agent, whole = self._agent, self._whole[member].double()
        silenced = self._problem.q_values(agent.state.critic, self._batch)[0, member]
        errors = self._problem.critic_losses(agent.state, agent.state.critic, self._batch, self._noise)[0, member]
        spread = float(whole.std(correction=0))
        if spread == 0:
            return None, None
        change, error = (silenced.double() - whole).abs().mean(), errors.double().sqrt().mean()
        return float(change) / spread, float(error) / spread

    # The scores

    def _network_scores(self, network: str, rollouts: Arrays) -> NetworkScores:
        kind, layer = self.target.kind, self.target.layer_of_neurons
        agreement = self._measure(network, rollouts)
        ranking = rank(kind, agreement, layer)
        reliability, active = self._split_half(network, rollouts)
        return NetworkScores(
            ranking=None if ranking is None else tuple(ranking.tolist()),
            score=tuple(values(kind, agreement, layer).tolist()),
            constant=tuple(np.flatnonzero(agreement.constant).tolist()),
            dead=tuple(np.flatnonzero(agreement.constant & (agreement.mean == 0)).tolist()),
            split_half=reliability,
            split_half_neurons=active,
        )

    def _split_half(self, network: str, rollouts: Arrays) -> tuple[float | None, int]:
        """Rank correlation of the score on odd and on even episodes, and the neurons constant in neither."""
        kind, layer = self.target.kind, self.target.layer_of_neurons
        steps, episodes = len(rollouts["success"]), self.target.rollouts.episodes
        if episodes < 2:
            return None, 0
        odd = np.arange(steps) * episodes // steps % 2 == 1
        one, other = (
            self._measure(network, {name: array[half] for name, array in rollouts.items()}) for half in (odd, ~odd)
        )
        active = ~one.constant & ~other.constant
        if rank(kind, one, layer) is None or rank(kind, other, layer) is None:
            return None, int(active.sum())
        return spearman(values(kind, one, layer)[active], values(kind, other, layer)[active]), int(active.sum())

    def _measure(self, network: str, rollouts: Arrays) -> Agreement:
        def stream() -> Iterator[npt.NDArray[np.floating]]:
            for start in range(0, len(rollouts["success"]), BLOCK):
                block = slice(start, start + BLOCK)
                yield self._agent.neuron_activations(
                    network, rollouts["observations"][block], rollouts["actions"][block]
                )

        return measure(stream, rollouts["success"])
