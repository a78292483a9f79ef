"""How updates are executed: as they are written, compiled, or captured as CUDA graphs; all from the same losses.

Knows neither tasks nor methods, and changes nothing but speed and rounding. What is compiled is a whole step, of both
critics with their targets, or of the actor with the temperature, so that a core's time goes into matrix products; what
is captured is all updates that are due, so that a GPU gets them in one launch. `compiling` says where compiled code is
kept, and who waits for whom.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import FunctionType
from typing import Any, Protocol

import torch
from torch import Tensor

from nbsp_ray.learning.replay import AnyBatch
from nbsp_ray.learning.sac import Losses, SacState, Update, track_targets

CAPTURE_WARM_UP = 3
"""Updates before a capture, on a side stream, as torch asks for: libraries allocate their workspaces in them."""


@dataclass(frozen=True)
class PendingUpdate:
    """An update that is due, and what it learns from."""

    batch: AnyBatch
    noise: Tensor
    """As `sac.Update` takes it."""
    with_actor: bool
    with_targets: bool
    actor_batch: AnyBatch | None = None
    """The actor's own, where it is not `batch`."""


class Executor(Protocol):
    """Makes updates in place on a state."""

    def __call__(self, state: SacState, due: Sequence[PendingUpdate]) -> Losses:
        """Make all that are due; the losses of the last."""

    def warm_up(self, state: SacState, due: Sequence[PendingUpdate]) -> None:
        """Compile what such updates need, on a copy of the state."""


@dataclass(frozen=True)
class Execution:
    """Which of the ways."""

    compile: bool = False
    cuda_graphs: bool = False
    device: str = "cpu"
    """Torch's name of the kind of device that the state is on."""

    def of(self, update: Update, tau: float, *, targets_always: bool) -> Executor:
        """`update` and the targets' (Algorithm 1, lines 11 to 15), executed in this way.

        Args:
            update: Of actor, critics and temperature.
            tau: Of the targets.
            targets_always: Whether the targets follow in every update.
        """
        execute = EagerExecutor(update, tau, self, targets_apart=not targets_always)
        return CudaGraphExecutor(execute) if self.cuda_graphs else execute


class EagerExecutor:
    """Each update by itself."""

    def __init__(self, update: Update, tau: float, execution: Execution, *, targets_apart: bool) -> None:
        self._tau = tau
        # A hard copy every few thousand updates is not worth a graph of its own.
        self._apart = targets_apart
        self._update = update
        if execution.compile:
            on_cpu = execution.device == "cpu"
            self._update = Update(_compiled(update.critics, on_cpu), _compiled(update.actor, on_cpu))

    def __call__(self, state: SacState, due: Sequence[PendingUpdate]) -> Losses:
        """Make the updates, one after another."""
        for one in due:
            together = one.with_targets and not self._apart
            losses = self._update(state, one.batch, one.noise, one.with_actor, together, one.actor_batch)
            if one.with_targets and self._apart:
                track_targets(state, self._tau)
        return losses

    def warm_up(self, state: SacState, due: Sequence[PendingUpdate]) -> None:
        """Make them, and throw the result away."""
        self(state.clone(), due)


def _compiled(step: Any, on_cpu: bool) -> Any:
    """One graph for each combination of the flags that it is called with."""
    import torch._dynamo

    # The gradients are taken inside of what is compiled.
    torch._dynamo.config.trace_autograd_ops = True  # type: ignore[attr-defined,unused-ignore]
    # What is compiled is kept by its code, and each phase's step has its own method in it: so each has code of its
    # own, and none is taken for another's, nor do they add up to the number after which torch gives a function up.
    own = FunctionType(step.__code__.replace(), step.__globals__, step.__name__, None, step.__closure__)
    arguments = own.__code__.co_varnames[: own.__code__.co_argcount]

    def of_arguments(guards: Sequence[Any]) -> list[bool]:
        """Which of the conditions for a graph are looked at before each call.

        Not the losses, layouts and settings, 200 of them and 0.15 ms: they stay as they are as long as the step does.
        """
        roots = [re.split(r"\W", guard.name, maxsplit=1)[0] for guard in guards]
        return [not guard.is_global and root in ("", *arguments) for guard, root in zip(guards, roots, strict=True)]

    # On a CPU the graph itself is machine code too, not Python that calls one product after another.
    options: dict[str, Any] = {"guard_filter_fn": of_arguments, "cpp_wrapper": on_cpu}
    return torch.compile(own, dynamic=False, fullgraph=True, options=options)


class CudaGraphExecutor:
    """Sequences of updates as CUDA graphs: one for each pattern of flags, its inputs copied into fixed places."""

    def __init__(self, execute: EagerExecutor) -> None:
        self._execute = execute
        self._graphs: dict[tuple[tuple[bool, bool, bool], ...], _Graph] = {}

    def __call__(self, state: SacState, due: Sequence[PendingUpdate]) -> Losses:
        """Replay the graph of this pattern of updates, captured at its first call."""
        pattern = tuple((one.with_actor, one.with_targets, one.actor_batch is None) for one in due)
        if pattern not in self._graphs:
            self._graphs[pattern] = _Graph(self._execute, state, due)
        return self._graphs[pattern].replay(due)

    def warm_up(self, state: SacState, due: Sequence[PendingUpdate]) -> None:
        """Compile, without a capture: that holds on to the state it is made with."""
        self._execute.warm_up(state, due)


class _Graph:
    """One capture; it holds on to the very tensors of the state that it was captured with."""

    def __init__(self, execute: EagerExecutor, state: SacState, due: Sequence[PendingUpdate]) -> None:
        self._inputs = [_copy(one) for one in due]
        self._graph = torch.cuda.CUDAGraph()
        before = {name: tensor.clone() for name, tensor in state.tensors().items()}
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(CAPTURE_WARM_UP):
                execute(state, self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        for name, tensor in state.tensors().items():
            tensor.copy_(before[name])  # The warm-up was real.
        with torch.cuda.graph(self._graph):
            self._losses = execute(state, self._inputs)

    def replay(self, due: Sequence[PendingUpdate]) -> Losses:
        for own, one in zip(self._inputs, due, strict=True):
            own.batch.rows.copy_(one.batch.rows, non_blocking=True)
            if own.actor_batch is not None and one.actor_batch is not None:
                own.actor_batch.rows.copy_(one.actor_batch.rows, non_blocking=True)
            own.noise.copy_(one.noise, non_blocking=True)
        self._graph.replay()
        return self._losses


def _copy(due: PendingUpdate) -> PendingUpdate:
    """The same update on tensors of its own."""
    of_actor = due.actor_batch and replace(due.actor_batch, rows=due.actor_batch.rows.clone())
    batch = replace(due.batch, rows=due.batch.rows.clone())
    return replace(due, batch=batch, noise=due.noise.clone(), actor_batch=of_actor)
