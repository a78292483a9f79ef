"""stable-baselines3 and SBX as contenders: their own SAC, buffer and loop, on our environment."""

import time
from typing import Any

import gymnasium
import numpy as np
from contenders import ACTIONS, BATCH, BUFFER, OBSERVATIONS, PREFILLED, Entry, make_env, timed, transitions
from stable_baselines3.common.logger import Logger


class GymEnv(gymnasium.Env[Any, Any]):
    """Our environment with gymnasium's interface; made when it is first played."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (OBSERVATIONS,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (ACTIONS,), np.float32)

    def __init__(self) -> None:
        self._env: Any = None
        self._rng = np.random.default_rng(0)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._env = self._env or make_env()
        return self._env.reset(int(self._rng.integers(self._env.variations)), self._rng), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        step = self._env.step(action)
        return step.observation, step.reward, step.terminated, step.truncated, {}


class Peer:
    """What the two have in common: SBX is built on stable-baselines3."""

    algorithm: Any

    def __init__(self, entry: Entry, hidden: tuple[int, ...], learning_starts: int, filled: bool) -> None:
        self.model = self.algorithm(
            "MlpPolicy",
            GymEnv(),
            batch_size=BATCH,
            buffer_size=BUFFER,
            learning_starts=learning_starts,
            train_freq=1,
            gradient_steps=1,
            policy_kwargs={"net_arch": list(hidden)},
            seed=0,
            device="cpu",
        )
        self.model.set_logger(Logger(None, []))
        if filled:
            for observation, action, reward, following, terminated in transitions(PREFILLED):
                self.model.replay_buffer.add(
                    observation[None], following[None], action[None], np.array([reward]), np.array([terminated]), [{}]
                )

    def updates(self, seconds: float) -> tuple[float, float]:
        return timed(lambda count: self.model.train(gradient_steps=count, batch_size=BATCH), seconds)

    def steps(self, env_steps: int) -> tuple[float, float]:
        start = time.perf_counter()
        self.model.learn(env_steps, reset_num_timesteps=False, log_interval=1_000_000)
        return env_steps, time.perf_counter() - start

    def first_update(self) -> None:
        self.steps(self.model.learning_starts + 1)


class Sb3(Peer):
    """stable-baselines3."""

    def __init__(self, *given: Any) -> None:
        from stable_baselines3 import SAC

        self.algorithm = SAC
        super().__init__(*given)


class Sbx(Peer):
    """SBX."""

    def __init__(self, *given: Any) -> None:
        from sbx import SAC

        self.algorithm = SAC
        super().__init__(*given)


CONTENDERS = {"sb3": Sb3, "sbx": Sbx}
