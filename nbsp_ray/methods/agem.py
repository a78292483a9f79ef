"""A-GEM: where a gradient would make the loss on earlier tasks grow, it is projected so that it does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from nbsp_ray.config.schema import Settings
from nbsp_ray.layout import Parts
from nbsp_ray.learning.hooks import Arrays, Ingredient
from nbsp_ray.methods import Look, Method

if TYPE_CHECKING:
    import torch

    from nbsp_ray.learning.agent import Agent
    from nbsp_ray.learning.sac import UpdateRule


class Options(Settings):
    """What a sweep may set of it."""

    agem_parts: Literal["actor", "actor_critic"] = "actor_critic"
    """Parts whose gradients `agem` projects (Continual World: both)."""


class ProjectedGradient(Ingredient):
    """g - (g . g_ref / g_ref . g_ref) g_ref where g . g_ref < 0, else g (Chaudhry et al. 2019, Equation 11).

    g_ref is the gradient of the same loss on a batch of D_pre, with the same weights and the same noise. Continual
    World takes one product over actor and critics; here each part has its own, as their losses and steps are apart. The
    memory is the whole buffer, not a sample of it.
    """

    kind: Literal["agem"] = "agem"
    parts: Parts

    needs_buffers: ClassVar[bool] = True

    def restraints(self, arrays: Arrays, agent: Agent) -> Mapping[str, UpdateRule]:
        """The projection, in each part."""
        from nbsp_ray.learning.sac import UpdateRule

        return {part: UpdateRule(gradients=(project,), reads_memory=True) for part in self.parts}


def project(gradient: torch.Tensor, on_memory: Callable[[], torch.Tensor]) -> torch.Tensor:
    """`gradient` (L, M, P) without what conflicts with that on the memory, in each lane by itself."""
    import torch

    reference = on_memory()
    product = (gradient * reference).sum((-2, -1), keepdim=True)
    # Where the reference is 0 so is the product: nothing is subtracted, and nothing is divided by 0.
    size = reference.square().sum((-2, -1), keepdim=True).clamp_min(torch.finfo(reference.dtype).tiny)
    return gradient - (product.clamp_max(0) / size) * reference


METHODS = (
    Method(
        "agem",
        "gradients that conflict with those on old transitions are projected (Chaudhry et al. 2019)",
        lambda options, counts: (
            ProjectedGradient(parts=("actor", "critic") if options.agem_parts == "actor_critic" else ("actor",)),
        ),
        Options,
        look=Look("#8b5a9f", "h", "-."),
    ),
)
