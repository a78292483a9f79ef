"""The final evaluation of a finished phase: a record of its own beside the phase.

An episode is a function of its number, so that one that is cut off goes on where it was saved.
"""

from dataclasses import asdict

import numpy as np
import numpy.typing as npt

from nbsp_ray.benchmarks import Benchmark, Frames, Spaces, Success
from nbsp_ray.learning.agent import Agent
from nbsp_ray.learning.evaluation import Episode, EpisodePlan, MakeEnv, mean_return
from nbsp_ray.learning.hooks import ActiveMethod
from nbsp_ray.learning.rollouts import Arrays, FrameRollouts, Rollouts, VectorRollouts, new_recorder
from nbsp_ray.learning.seeding import Stream, generator
from nbsp_ray.learning.wishes import Watch, Work
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
        method: The phase's, with the arrays it left: it may act with other weights on each task.
        make_env: Makes the environment that is played.
    """

    def __init__(
        self,
        folder: PhaseFolder,
        benchmark: Benchmark,
        spec: PhaseSpec,
        record: EvaluationSpec,
        agent: Agent,
        method: ActiveMethod,
        make_env: MakeEnv,
    ) -> None:
        self._folder, self._benchmark, self._spec, self._record = folder, benchmark, spec, record
        self._policy = agent.policy(method.view(agent, spec.number_of(record.task)))
        self._recorder = new_recorder(benchmark, agent.spaces) if record.mode == "rollouts" else None
        self._episodes: list[Episode] = []
        self._make_env = make_env
        self._steps: list[dict[str, object]] = []
        """The file with the steps of each episode, of those that are stored one by one."""

    def play(self) -> Work:
        """Play it and store it; it may be saved between episodes."""
        spec, record, recorder = self._spec, self._record, self._recorder
        env = self._make_env(record.task, spec.seed, heldout=record.goals == "heldout")
        policy = self._policy
        self._resume()
        while not self._enough():
            number = len(self._episodes)
            plan = EpisodePlan(number % env.variations, generator(spec.seed, spec.index, Stream.FINAL, number))
            deterministic = record.mode == "deterministic"
            episode = yield Watch(policy, env, plan, deterministic, recorder is None, recorder)
            rows = recorder.take_rows() if recorder else None
            if rows is not None:
                self._steps.append(self._folder.write_episode(record.id, number, rows))
            self._episodes.append(episode)
            yield None
        rollouts = recorder.arrays() if recorder else None
        self._folder.write_evaluation(record.id, self._data(), rollouts, self._steps)

    def save(self) -> None:
        """Keep the episodes played so far, unless their steps are in this process alone."""
        recorder = self._recorder
        if recorder is not None and not recorder.streams:
            return
        criterion = [] if recorder is None else [{"criterion": one.tolist()} for one in recorder.criterion]
        played = [asdict(episode) for episode in self._episodes]
        unfinished = played if recorder is None else [one | q for one, q in zip(played, criterion, strict=True)]
        if self._steps:
            unfinished = [one | {"steps": steps} for one, steps in zip(unfinished, self._steps, strict=True)]
        self._folder.write_unfinished(self._record.id, unfinished)

    def _resume(self) -> None:
        """Go on after the episodes that `save` kept."""
        for kept in self._folder.unfinished(self._record.id):
            criterion, steps = kept.pop("criterion", None), kept.pop("steps", None)
            if self._recorder is not None:
                if criterion is None or steps is None:  # as an earlier version kept it: all is played again
                    return
                self._steps.append(steps)
                self._recorder.criterion.append(np.asarray(criterion, np.float64))
            self._episodes.append(Episode(**kept))

    def _enough(self) -> bool:
        """So many episodes, or so many env steps with the last episode finished."""
        wanted = self._record.env_steps
        return len(self._episodes) >= self._record.episodes if wanted is None else self._env_steps() >= wanted

    def _env_steps(self) -> int:
        return sum(episode.env_steps for episode in self._episodes)

    def _data(self) -> dict[str, object]:
        data = self._record.model_dump() | {"env_return": [episode.env_return for episode in self._episodes]}
        if isinstance(self._benchmark.judged_by, Success):
            flags = [int(bool(episode.success)) for episode in self._episodes]
            return data | {"success": flags, "success_rate": float(np.mean(flags))}
        data |= {"success": [], "success_rate": None, "mean_return": mean_return(self._episodes)}
        return data | {"episodes": len(self._episodes), "env_steps": self._env_steps()}


def read_rollouts(folder: PhaseFolder, record: str, spaces: Spaces) -> Rollouts | None:
    """The steps of a final evaluation that kept them; None if they are not there."""
    arrays = folder.rollouts(record)
    if arrays is None or "criterion" not in arrays:
        arrays = _without_criterion(folder, record, arrays)
    if arrays is None or not len(arrays["ends"]):
        return None
    criterion, ends = arrays["criterion"], arrays["ends"]
    if not isinstance(spaces.observation, Frames):
        return VectorRollouts(criterion, ends, arrays["observations"], arrays["actions"])

    def open_episode(number: int) -> npt.NDArray[np.uint8]:
        rows = folder.episode(record, number)
        assert rows is not None
        return rows

    if any(folder.episode(record, number) is None for number in range(len(ends))):
        return None
    return FrameRollouts(criterion, ends, spaces, open_episode)


def _without_criterion(folder: PhaseFolder, record: str, arrays: Arrays | None) -> Arrays | None:
    """The arrays of an evaluation that was stored when q was not: the results of this algorithm version that exist."""
    data = folder.evaluation(record)
    returns = data["env_return"] if data else []
    if arrays is not None:
        steps, episodes = len(arrays["success"]), max(1, len(returns))
        ends = steps * np.arange(1, episodes + 1) // episodes
        return arrays | {"criterion": arrays["success"].astype(np.float64), "ends": ends}
    rows = [folder.episode(record, number) for number in range(len(returns))]
    lengths = [len(one) - 1 for one in rows if one is not None]
    if len(lengths) < len(rows):
        return None
    return {"criterion": np.repeat(np.asarray(returns, np.float64), lengths), "ends": np.cumsum(lengths)}
