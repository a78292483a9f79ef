"""From a sweep's skill neurons to a count for each network."""

import math
from collections.abc import Sequence

from nbsp_ray.benchmarks import get_benchmark
from nbsp_ray.config.schema import SkillNeurons, Sweep
from nbsp_ray.errors import ConfigError
from nbsp_ray.layout import NETWORKS, Counts


def resolve_counts(skill_neurons: SkillNeurons, layers: Sequence[int]) -> Counts:
    """Neurons to select in each network: an integer is a count, a float a fraction, floor(fraction x neurons + 1/2).

    Raises:
        ConfigError: more neurons than a network has.
    """
    neurons = sum(layers)
    count = skill_neurons if isinstance(skill_neurons, int) else math.floor(skill_neurons * neurons + 0.5)
    if count > neurons:
        raise ConfigError(
            f"skill_neurons: {count} is more than the {neurons} hidden neurons of each network "
            f"({' + '.join(map(str, layers))}); give a count up to {neurons}, or a fraction such as 0.2"
        )
    return dict.fromkeys(NETWORKS, count)


def searched(sweep: Sweep) -> tuple[int, int]:
    """The fewest and the most neurons per network that a sweep's search may select.

    Raises:
        ConfigError: more neurons than a network has.
    """
    layers = get_benchmark(sweep.benchmark).layers(sweep.sac)
    low, high = (resolve_counts(value, layers)[NETWORKS[0]] for value in sweep.search.skill_neurons)
    return low, high


def spread(sweep: Sweep, numbers: int) -> tuple[int, ...]:
    """So many numbers of skill neurons, evenly spread over what a sweep's search may select, both ends among them."""
    low, high = searched(sweep)
    if numbers == 1:
        return ((low + high) // 2,)
    return tuple(math.floor(low + (high - low) * place / (numbers - 1) + 0.5) for place in range(numbers))
