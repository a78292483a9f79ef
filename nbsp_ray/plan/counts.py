"""From a sweep's skill neurons to a count for each network."""

import math
from collections.abc import Sequence

from nbsp_ray.config.schema import SkillNeurons
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
