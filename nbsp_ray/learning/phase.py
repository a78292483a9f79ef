"""The loop: how one task is learnt. Everything else in this package serves these lines.

A phase is a function of its spec and of its past; who launched it, where it is stored and how it is shown are not its
business. Between two episodes its whole state is in `Phase`, and no generator has a state to save: what is random in
an episode is a function of the episode's number.
"""

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from nbsp_ray.benchmarks import Env
from nbsp_ray.config.schema import Learning
from nbsp_ray.errors import PhaseError
from nbsp_ray.learning.acting import Policy
from nbsp_ray.learning.agent import Agent
from nbsp_ray.learning.evaluation import Episode, EpisodePlan, mean_return, success_rate
from nbsp_ray.learning.hooks import ActiveMethod
from nbsp_ray.learning.replay import AnyReplay, Mixture
from nbsp_ray.learning.sac import AnyLosses
from nbsp_ray.learning.seeding import Stream, generator, torch_seed
from nbsp_ray.learning.wishes import Act, Begin, Learn, Play, Watch, Wish, Work
from nbsp_ray.specs import PhaseSpec


@dataclass
class Spread:
    """Mean and spread of numbers that come one by one (Welford)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    """Sum of squared distances from the mean."""

    def add(self, number: float) -> None:
        """One more."""
        self.count += 1
        before = number - self.mean
        self.mean += before / self.count
        self.squares += before * (number - self.mean)

    @property
    def deviation(self) -> float:
        """Their standard deviation; 1 where they are all alike, for what divides by it."""
        return math.sqrt(self.squares / self.count) if self.squares > 0 else 1.0


@dataclass
class Phase:
    """A phase between two episodes."""

    spec: PhaseSpec
    agent: Agent
    replay: AnyReplay
    """D, the buffer of this phase's own transitions."""
    past_replay: Mixture | None
    """D_pre, if a method draws from it."""
    influence: ActiveMethod
    env: Env
    evaluation_envs: Mapping[str, Env]
    """An environment of their own for the evaluations of each task: earlier ones, then this phase's."""
    env_steps: int = 0
    episode: int = 0
    evaluations_at_threshold: int = 0
    """Evaluations in a row that reached the threshold, the last of them confirmed where that is asked for."""
    curve: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    returns: Spread = field(default_factory=Spread)
    """Of the phase's discounted returns, which rewards are scaled by where that is asked for."""
    heartbeat: Callable[[], None] = lambda: None
    """Called after every env step: a game may take minutes, and somebody may want to know that it goes on."""

    def past_for(self, update: int) -> Mapping[str, Mixture]:
        """D_pre, for each part whose batch of update number `update` comes from there (Eq. 6)."""
        return dict.fromkeys(self.influence.replays(update), self.past_replay) if self.past_replay else {}

    def policy_on(self, task: str) -> Policy:
        """The policy that an evaluation of a task plays with: the one that learns, but for methods with views."""
        return self.agent.policy(self.influence.view(self.agent, self.spec.number_of(task)))

    @property
    def stop_reason(self) -> str | None:
        """Why learning is over: `stable`, `budget`; None while it is not."""
        learning = self.spec.learning
        if learning.stop != "fixed" and self.evaluations_at_threshold >= learning.stop_evaluations:
            return "stable"
        return "budget" if self.env_steps >= learning.env_steps else None

    @property
    def evaluation_due(self) -> bool:
        """Whether `eval_every` env steps have begun since the last evaluation, or the budget is spent."""
        every, done = self.spec.learning.eval_every, self.last_evaluation
        return self.env_steps // every > done // every or (self.stop_reason == "budget" and done < self.env_steps)

    @property
    def last_evaluation(self) -> int:
        """Env steps of the last evaluation."""
        return next((int(row["env_steps"]) for row in reversed(self.curve) if row["kind"] == "evaluation"), 0)


def learn(phase: Phase) -> Work:
    """Learn a task with SAC under a method's influence (Algorithm 1).

    It yields its wishes to act, to play and to learn, and is sent their answers (`wishes`); it yields None between
    episodes, where it may be saved. `for _ in alone(learn(phase))` answers all of them in place.
    """
    spec, sac, agent, env = phase.spec, phase.spec.sac, phase.agent, phase.env
    policy, updates_rng = agent.policy(), torch.Generator()
    if not phase.curve:
        yield from evaluate(phase, None)
    while phase.stop_reason is None:
        rng = generator(spec.seed, spec.index, Stream.TRAINING, phase.episode)
        updates_rng.manual_seed(torch_seed(spec.seed, spec.index, Stream.UPDATES, phase.episode))
        observation = yield Begin(env, int(rng.integers(env.variations)), rng)
        success, env_return, over, losses, discounted = None, 0.0, False, None, 0.0
        while not over:
            if phase.env_steps < sac.learning_starts:
                action = policy.random(rng)
            else:
                action = yield Act(policy, observation, policy.noise(rng))
            step = yield Play(env, action)
            phase.env_steps += 1
            over = step.ends or phase.env_steps >= spec.learning.env_steps
            # Easy to overlook: a time limit is not the end of the return, so only `terminated` is stored.
            phase.replay.add(observation, action, step, last=over)
            observation = step.observation if step.resumes is None else step.resumes
            phase.heartbeat()
            due = updates_due(phase)
            if agent.updates.critic < due:
                losses = yield Learn(agent, due, phase.replay, updates_rng, phase.past_for, phase.past_replay)
            if sac.reward_scale == "running":
                discounted = sac.gamma * discounted + step.reward
                phase.returns.add(discounted)
            env_return += step.points
            if step.success is not None:
                success = int(success or step.success)
        _check_finite(phase, {"env_return": env_return})
        phase.curve.append(
            {"kind": "training", "env_steps": phase.env_steps, "episode": phase.episode, "task": spec.task}
            | {"success": success, "env_return": env_return}
        )
        phase.influence.between(agent, phase.replay, generator(spec.seed, spec.index, Stream.BETWEEN, phase.episode))
        phase.episode += 1
        if agent.state.reward_scale is not None:
            agent.state.reward_scale.fill_(1 / phase.returns.deviation)
        if phase.evaluation_due:
            yield from evaluate(phase, losses)
        yield None


def updates_due(phase: Phase) -> int:
    """Updates that should have been made by now: none before `learning_starts` env steps, the first right then."""
    sac = phase.spec.sac
    env_steps = phase.env_steps - max(1, sac.learning_starts) + 1
    # Rounded first, as 30 x 0.1 is a little more than 3.
    return math.ceil(round(env_steps * sac.updates_per_env_step, 6))


def evaluate(phase: Phase, losses: AnyLosses | None) -> Work:
    """Play a few episodes of each task so far with the frozen policy, and see whether this phase's is mastered.

    Rows of the curve: an `evaluation` of each task and, where they would end the phase, a `confirmation`.

    Raises:
        PhaseError: learning has diverged.
    """
    spec, learning = phase.spec, phase.spec.learning
    for task in phase.evaluation_envs:
        episodes = yield from _frozen_episodes(phase, task, Stream.EVALUATION, learning.eval_episodes)
        row = _frozen_row(phase, "evaluation", task, episodes)
        if row["success"] is None:
            row["env_return"] = mean_return(episodes)
        phase.curve.append(row | (_numbers(losses, phase) if task == spec.task else {}))
    own = _last_training(phase) if learning.stop == "stable_training" else phase.curve[-1]["success"]
    # What an agent can do before its first update is not what this phase has taught it.
    known = own if phase.agent.updates.critic > 0 else None
    before = phase.evaluations_at_threshold
    count = count_mastered(learning, before, known)
    if must_be_confirmed(learning, count):
        count = count_mastered(learning, before, (yield from _confirm(phase)))
    phase.evaluations_at_threshold = count


def count_mastered(learning: Learning, before: int, success: float | None) -> int:
    """Evaluations in a row that reached the threshold, after one more; `stop_evaluations` of them end the phase.

    Args:
        learning: The stop rule.
        before: How many there were.
        success: Of the newest evaluation; None if it says nothing.
    """
    return 0 if success is None or success < learning.stop_threshold else before + 1


def must_be_confirmed(learning: Learning, count: int) -> bool:
    """Whether `stop_confirm_episodes` more are to reach the threshold too, as learning is about to stop.

    Three lucky evaluations of ten come to almost any good agent if it has many chances.
    """
    return learning.stop != "fixed" and count >= learning.stop_evaluations and learning.stop_confirm_episodes > 0


def _confirm(phase: Phase) -> Generator[Wish | None, Any, float | None]:
    """Success rate of the frozen policy on the phase's own task, in episodes that no evaluation has; into the curve."""
    task = phase.spec.task
    episodes = yield from _frozen_episodes(phase, task, Stream.CONFIRMATION, phase.spec.learning.stop_confirm_episodes)
    phase.curve.append(_frozen_row(phase, "confirmation", task, episodes))
    return success_rate(episodes)


def _frozen_episodes(
    phase: Phase, task: str, stream: Stream, episodes: int
) -> Generator[Wish | None, Any, list[Episode]]:
    spec, env, policy = phase.spec, phase.evaluation_envs[task], phase.policy_on(task)
    played: list[Episode] = []
    for number in range(episodes):
        rng = generator(spec.seed, spec.index, stream, phase.env_steps, number)
        plan = EpisodePlan(int(rng.integers(env.variations)), rng)
        played.append((yield Watch(policy, env, plan, stop_at_success=True)))
    return played


def _frozen_row(phase: Phase, kind: str, task: str, episodes: Sequence[Episode]) -> dict[str, Any]:
    row = {"kind": kind, "env_steps": phase.env_steps, "updates": phase.agent.updates.critic, "task": task}
    return row | {"success": success_rate(episodes), "episodes": len(episodes)}


def _last_training(phase: Phase) -> float | None:
    rows = [row["success"] for row in phase.curve if row["kind"] == "training"]
    wanted = phase.spec.learning.eval_episodes
    return float(np.mean(rows[-wanted:])) if len(rows) >= wanted else None


def _numbers(losses: AnyLosses | None, phase: Phase) -> dict[str, float]:
    numbers = {name: float(getattr(phase.agent.state, name).abs().amax()) for name in ("actor", "critic")}
    _check_finite(phase, {f"largest {name} weight": number for name, number in numbers.items()})
    if losses is None:
        return {}
    values = {"critic_loss": losses.critic, "actor_loss": losses.actor, "alpha": losses.alpha}
    found = {name: float(value.mean()) for name, value in values.items() if value is not None}
    _check_finite(phase, found)
    return found


def _check_finite(phase: Phase, numbers: Mapping[str, float]) -> None:
    if not all(math.isfinite(number) for number in numbers.values()):
        raise PhaseError(
            f"learning has diverged at {phase.env_steps} env steps: {dict(numbers)}; "
            "lower sac.critic_lr and sac.actor_lr, and run again"
        )
