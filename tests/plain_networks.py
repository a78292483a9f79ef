"""Networks on frames out of torch's own layers, in double precision: what ours are compared with."""

import torch
from torch import Tensor, nn

from nbsp_ray.layout import Layout


def plain_network(layout: Layout, flat: Tensor) -> nn.Sequential:
    """The network that the flat parameters (P,) mean: convolutions, then linear layers; weight before bias."""
    assert layout.image is not None
    layers: list[nn.Module] = []
    channels, (height, width) = layout.inputs, layout.image.frame
    for out, kernel, stride in layout.image.convolutions:
        layers += [nn.Conv2d(channels, out, kernel, stride, dtype=torch.float64), nn.ReLU()]
        channels, height, width = out, (height - kernel) // stride + 1, (width - kernel) // stride + 1
    layers.append(nn.Flatten())
    size = channels * height * width
    for out in (*layout.hidden, layout.outputs):
        layers += [nn.Linear(size, out, dtype=torch.float64), nn.ReLU()]
        size = out
    network = nn.Sequential(*layers[:-1])
    assert sum(parameter.numel() for parameter in network.parameters()) == len(flat)
    nn.utils.vector_to_parameters(flat.detach().double().clone(), network.parameters())
    return network


def flat(network: nn.Module) -> Tensor:
    """Its parameters, one after another."""
    return nn.utils.parameters_to_vector(network.parameters()).detach()
