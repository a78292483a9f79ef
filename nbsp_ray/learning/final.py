"""The final evaluation of a finished phase: a record of its own beside the phase.

An episode is a function of its number, so that one that is cut off goes on where it was saved.
"""

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial

import numpy as np
import numpy.typing as npt

from nbsp_ray.benchmarks import AnySpaces, Benchmark, PixelSpaces
from nbsp_ray.learning.agent import Agent
from nbsp_ray.learning.evaluation import Episode, EpisodePlan, mean_return, play
from nbsp_ray.learning.rollouts import GameRollouts, Rollouts, VectorRollouts, new_recorder
from nbsp_ray.learning.seeding import Stream, generator
from nbsp_ray.specs import EvaluationSpec, PhaseSpec
from nbsp_ray.store import PhaseFolder


class FinalEvaluation:
    """One record under way.

    Args:
        folder: Of the phase, where the record goes.
        benchmark: The phase's.
        spec: What the phase is.
        record: What is wanted.
        agent: As the phase left it.
    """

    def __init__(
        self, folder: PhaseFolder, benchmark: Benchmark, spec: PhaseSpec, record: EvaluationSpec, agent: Agent
    ) -> None:
        self._folder, self._benchmark, self._spec, self._record, self._agent = folder, benchmark, spec, record, agent
        self._recorder = new_recorder(agent.spaces) if record.mode == "rollouts" else None
        self._episodes: list[Episode] = []

    def play(self) -> Iterator[None]:
        """Play it and store it, pausing between episodes."""
        spec, record, recorder = self._spec, self._record, self._recorder
        env = self._benchmark.make_env(record.task, spec.seed, heldout=record.goals == "heldout")
        policy = self._agent.policy()
        self._episodes = [Episode(**episode) for episode in self._folder.unfinished(record.id)]
        while not self._enough():
            number = len(self._episodes)
            plan = EpisodePlan(number % env.variations, generator(spec.seed, spec.index, Stream.FINAL, number))
            deterministic = record.mode == "deterministic"
            episode = play(
                policy, env, plan, deterministic=deterministic, stop_at_success=recorder is None, recorder=recorder
            )
            rows = recorder.take_game() if recorder else None
            if rows is not None:
                self._folder.write_game(record.id, number, rows)
            self._episodes.append(episode)
            yield
        self._folder.write_evaluation(record.id, self._data(), recorder.arrays() if recorder else None)

    def save(self) -> None:
        """Keep the episodes played so far, unless their steps are in this process alone."""
        if self._recorder is None or self._recorder.streams:
            self._folder.write_unfinished(self._record.id, [asdict(episode) for episode in self._episodes])

    def _enough(self) -> bool:
        """So many episodes, or so many env steps with the last game finished."""
        wanted = self._record.env_steps
        return len(self._episodes) >= self._record.episodes if wanted is None else self._env_steps() >= wanted

    def _env_steps(self) -> int:
        return sum(episode.env_steps for episode in self._episodes)

    def _data(self) -> dict[str, object]:
        data = self._record.model_dump() | {"env_return": [episode.env_return for episode in self._episodes]}
        if self._benchmark.measure == "success":
            flags = [int(bool(episode.success)) for episode in self._episodes]
            return data | {"success": flags, "success_rate": float(np.mean(flags))}
        data |= {"success": [], "success_rate": None, "mean_return": mean_return(self._episodes)}
        return data | {"episodes": len(self._episodes), "env_steps": self._env_steps()}


def read_rollouts(folder: PhaseFolder, record: str, spaces: AnySpaces) -> Rollouts | None:
    """The steps of a final evaluation that kept them; None if they are not there."""
    data = folder.evaluation(record)
    returns = data["env_return"] if data else []
    if not isinstance(spaces, PixelSpaces):
        arrays = folder.rollouts(record)
        if arrays is None:
            return None
        criterion = arrays["success"].astype(np.float64)
        return VectorRollouts(criterion, arrays["observations"], arrays["actions"], max(1, len(returns)))
    # Opened for its length, and let go.
    lengths = [0 if rows is None else len(rows) - 1 for rows in map(partial(folder.game, record), range(len(returns)))]
    if not all(lengths) or not lengths:
        return None

    def open_game(number: int) -> npt.NDArray[np.uint8]:
        rows = folder.game(record, number)
        assert rows is not None
        return rows

    return GameRollouts(np.repeat(returns, lengths), spaces, np.cumsum(lengths), open_game)
