"""What a phase asks of whoever drives it: to act, to play, to learn. A wish is a call that somebody else may make.

`learn` and a final evaluation are coroutines: they yield a wish and are sent its answer, or yield None where they may
be saved. `alone` makes each call at once, where a debugger can step into it; a `Pack` makes those of many phases
together.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from nbsp_ray.benchmarks import Action, Env, Observation, Step
from nbsp_ray.learning.acting import Noise, Policy
from nbsp_ray.learning.agent import Agent
from nbsp_ray.learning.evaluation import Episode, EpisodePlan, play
from nbsp_ray.learning.replay import AnyReplay, Mixture
from nbsp_ray.learning.rollouts import Recorder
from nbsp_ray.learning.sac import Losses


class Act(NamedTuple):
    """An action of the policy that learns."""

    policy: Policy
    observation: Observation
    noise: Noise

    def __call__(self) -> Action:
        """The action."""
        return self.policy(self.observation, self.noise)


class Begin(NamedTuple):
    """An episode of an environment to begin; its `rng` goes on after what `reset` took of it."""

    env: Env
    variation: int
    rng: np.random.Generator

    def __call__(self) -> Observation:
        """What the agent sees first."""
        return self.env.reset(self.variation, self.rng)


class Play(NamedTuple):
    """One env step."""

    env: Env
    action: Action

    def __call__(self) -> Step:
        """What it gives back."""
        return self.env.step(self.action)


class Learn(NamedTuple):
    """All updates up to number `updates`, as `Agent.learn_until`."""

    agent: Agent
    updates: int
    replay: AnyReplay
    rng: torch.Generator
    past: Callable[[int], Mapping[str, Mixture]]
    memory: Mixture | None

    def __call__(self) -> Losses:
        """The losses of the last."""
        return self.agent.learn_until(self.updates, self.replay, self.rng, self.past, self.memory)


class Watch(NamedTuple):
    """A whole episode of a policy that does not learn, as `evaluation.play`."""

    policy: Policy
    env: Env
    plan: EpisodePlan
    deterministic: bool = False
    stop_at_success: bool = False
    recorder: Recorder | None = None

    def __call__(self) -> Episode:
        """How it went."""
        return play(
            self.policy,
            self.env,
            self.plan,
            deterministic=self.deterministic,
            stop_at_success=self.stop_at_success,
            recorder=self.recorder,
        )


class Aside(NamedTuple):
    """Something slow that no other phase need wait for: to open a phase, to write what it came to."""

    call: Callable[[], Any]

    def __call__(self) -> Any:
        """What it gives."""
        return self.call()


Wish = Act | Begin | Play | Learn | Watch | Aside
Work = Generator[Wish | None, Any, None]
"""A coroutine that yields wishes, and None where it may be saved."""


def alone(work: Work) -> Iterator[None]:
    """Answer each wish at once; yields where the work may be saved."""
    answer: Any = None
    while True:
        try:
            wish = work.send(answer)
        except StopIteration:
            return
        if wish is None:
            answer = yield
        else:
            answer = wish()
