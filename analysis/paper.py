"""What the paper reports, to stand beside our numbers. Nothing here is computed."""

from collections.abc import Mapping
from dataclasses import dataclass

from nbsp_ray.benchmarks import get_benchmark


@dataclass(frozen=True)
class Published:
    """A success rate over five seeds, with the number after +- (the paper does not say what it is in its tables)."""

    mean: float
    spread: float


TABLE_1: Mapping[tuple[str, str], tuple[Published, Published]] = {
    ("metaworld", "drawer-open > drawer-close"): (Published(0.98, 0.04), Published(0.00, 0.00)),
    ("metaworld", "drawer-close > drawer-open"): (Published(0.96, 0.02), Published(0.62, 0.20)),
    ("metaworld", "window-open > window-close"): (Published(0.98, 0.04), Published(0.00, 0.00)),
    ("metaworld", "window-close > window-open"): (Published(0.97, 0.04), Published(0.09, 0.08)),
}
"""Table 1: (benchmark, pair) -> success on the first task before and after the second is learnt (there
"individual", "sequential"), plain SAC."""

TABLE_2: Mapping[str, tuple[str, str, str]] = {
    "Initial collect steps": ("sac.learning_starts", "10000", "20000"),
    "Discount factor": ("sac.gamma", "0.99", "0.99"),
    "Training environment steps, first": ("first.env_steps", "10^6", "1.5 x 10^6, 3 x 10^6"),
    "Training environment steps, second": ("second.env_steps", "10^6", "1.5 x 10^6, 3 x 10^6"),
    "Testing environment steps": ("evaluation.env_steps", "10^5 (200 episodes)", "10^5"),
    "Testing episodes": ("evaluation.episodes", "200", "-"),
    "Replay buffer size": ("sac.buffer_size", "10^6", "2 x 10^5"),
    "Updates per environment step (Replay Ratio)": ("sac.updates_per_env_step", "2", "4"),
    "Policy update period": ("sac.policy_frequency", "-", "-"),
    "Target network update period": ("sac.target_period", "1", "8000"),
    "Target smoothing coefficient": ("sac.tau", "0.005", "1"),
    "Optimizer, Adam's epsilon": ("sac.adam_eps", "-", "-"),
    "Policy learning rate": ("sac.actor_lr", "3 x 10^-4", "10^-4"),
    "Q-value learning rate": ("sac.critic_lr", "10^-3", "10^-4"),
    "Minibatch size": ("sac.batch_size", "256", "64"),
    "Alpha": ("sac.alpha", "0.2", "0.2"),
    "Autotune": ("sac.autotune", "True", "True"),
    "Average environment steps of success rate": ("first.eval_episodes", "10", "-"),
    "Stable threshold to finish training": ("first.stop_threshold", "0.9", "-"),
    "Replay interval": ("method.replay_interval", "10", "10"),
    "Target entropy scale": ("sac.target_entropy_scale", "-", "0.89"),
    "Fully connected hidden layers": ("sac.hidden", "three of 256", "two of 512"),
}
"""Table 2 (and the layers, of Appendix C.3): parameter -> the setting here, its value for Meta-World and for Atari."""

BENCHMARKS = ("metaworld", "atari")
"""The paper's; others (the toy) have pairs of their own, which are none of the paper's."""


def is_paper_pair(benchmark: str, tasks: tuple[str, ...]) -> bool:
    """Whether the paper compares methods on these tasks in this order."""
    return benchmark in BENCHMARKS and tasks in get_benchmark(benchmark).pairs
