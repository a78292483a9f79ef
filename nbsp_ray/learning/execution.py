"""How updates are executed: as they are written, compiled, or captured as CUDA graphs; all from the same losses.

Knows neither tasks nor methods, and changes nothing but speed and rounding. What is compiled is a whole step, of both
critics with their targets, or of the actor with the temperature, so that a core's time goes into matrix products; what
is captured is all updates that are due, so that a GPU gets them in one launch. `compiling` says where compiled code is
kept, and who waits for whom.
"""

import gc
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from nbsp_ray.learning.replay import AnyBatch, AnyChoice
from nbsp_ray.learning.sac import Losses, SacState, Update, leaf_of, track_targets

Captured = TypeVar("Captured")

CAPTURE_WARM_UP = 3
"""Updates before a capture, on a side stream, as torch asks for: libraries allocate their workspaces in them."""

CAPTURE_MODE = "thread_local"
"""A phase may be opened in another thread meanwhile."""


@dataclass(frozen=True)
class PendingUpdate:
    """An update that is due, and what it learns from."""

    batch: AnyBatch
    noise: Tensor
    """Standard normal (1 + policy_frequency, L, B, `problem.noise`): row 0 for the critics' target, each other for a
    step of the actor."""
    with_actor: bool
    """Whether the delayed actor takes part (every `policy_frequency`-th update), with as many steps."""
    with_targets: bool
    """Whether the targets track the critics now. No step of the actor reads them, so it is done where the critics are
    at hand."""
    actor_batch: AnyBatch | None = None
    """The actor's and the temperature's own, where it is not `batch`."""
    memory: AnyBatch | None = None
    """A batch of D_pre, where a method's rules read it. Its actions are sampled with the noise of `batch`."""
    active: Tensor | None = None
    """Lanes (L,) that take part, the others rest; None: all."""
    tracking: Tensor | None = None
    """Lanes (L,) whose targets track their critics, where `with_targets` is not of all."""


class DrawnUpdate(NamedTuple):
    """An update that is due, and the numbers of what it learns from: nothing of it is read yet."""

    batch: AnyChoice
    noise: Tensor
    with_actor: bool
    with_targets: bool
    actor_batch: AnyChoice | None
    memory: AnyChoice | None

    def read(self, device: torch.device) -> PendingUpdate:
        """Its batches, of one lane."""
        own, memory = (None if one is None else one.batch() for one in (self.actor_batch, self.memory))
        noise = self.noise.to(device, non_blocking=True)
        return PendingUpdate(self.batch.batch(), noise, self.with_actor, self.with_targets, own, memory)


class Executor(Protocol):
    """Makes updates in place on a state."""

    def __call__(self, state: SacState, due: Sequence[PendingUpdate]) -> Losses:
        """Make all that are due; the losses of the last."""

    def warm_up(self, state: SacState, due: Sequence[PendingUpdate]) -> None:
        """Compile what such updates need, on a copy of the state."""


class EagerExecutor:
    """Each update by itself, as it is written or, with `compile`, as machine code."""

    def __init__(self, update: Update, tau: float, *, targets_apart: bool = False) -> None:
        """Execute `update`, and let the targets follow by `tau` (Algorithm 1, lines 11 to 15).

        Args:
            update: Of actor, critics and temperature.
            tau: Of the targets.
            targets_apart: Whether they follow in a step of their own: a hard copy every few thousand updates is not
                worth a graph of its own.
        """
        self._update, self._tau, self._apart = update, tau, targets_apart

    def compile(self, device: str, alike: str | None = None) -> None:
        """From now on the steps are compiled for that kind of device.

        Args:
            device: As torch calls it.
            alike: A name of all updates that differ in nothing but the tensors that they are made of: in a process
                they share one graph. None: a graph of its own.
        """
        steps = self._update.critics, self._update.actor
        self._update = Update(*(_compiled(step, device, alike) for step in steps))

    def __call__(self, state: SacState, due: Sequence[PendingUpdate]) -> Losses:
        """Make the updates, one after another."""
        for one in due:
            together = one.with_targets and not self._apart
            noise, *of_actor = one.noise.unbind(0)
            loss_q = self._update.critics(state, one.batch, noise, together, one.memory, one.active)
            loss_pi, batch = None, one.batch if one.actor_batch is None else one.actor_batch
            for noise in of_actor if one.with_actor else ():
                loss_pi = self._update.actor(state, batch, noise, one.memory, one.active)
            if one.with_targets and self._apart:
                track_targets(state, self._tau, one.tracking)
        return Losses(loss_q, loss_pi, state.log_alpha.exp())

    def warm_up(self, state: SacState, due: Sequence[PendingUpdate]) -> None:
        """Make them, and throw the result away."""
        self(state.clone(), due)


@lru_cache(maxsize=32)
def _shared(code: CodeType, device: str, alike: str) -> CodeType:
    return code.replace()


def _compiled(step: Any, device: str, alike: str | None) -> Any:
    """One graph for each combination of the flags that it is called with."""
    import torch._dynamo

    # The gradients are taken inside of what is compiled.
    torch._dynamo.config.trace_autograd_ops = True  # type: ignore[attr-defined,unused-ignore]
    torch._dynamo.allow_in_graph(leaf_of)  # torch 2.11 cannot look into it: a leaf that is made within a graph
    # Dynamo keeps graphs by code object, and a step closes over its phase's settings and method, which are compiled
    # into its graph but for tensors: those are read from the closure at each call. So steps that differ in nothing
    # else have one code object, whose graphs are traced once in a process; each other has one of its own, or they
    # would be taken for each other.
    code = step.__code__.replace() if alike is None else _shared(step.__code__, device, alike)
    own = FunctionType(code, step.__globals__, step.__name__, None, step.__closure__)
    arguments = own.__code__.co_varnames[: own.__code__.co_argcount]

    def of_arguments(guards: Sequence[Any]) -> list[bool]:
        """Which of the conditions for a graph are looked at before each call.

        Not the losses, layouts and settings, 200 of them and 0.15 ms: they stay as they are as long as the step does.
        """
        roots = [re.split(r"\W", guard.name, maxsplit=1)[0] for guard in guards]
        return [not guard.is_global and root in ("", *arguments) for guard, root in zip(guards, roots, strict=True)]

    # On a CPU the graph itself is machine code too, not Python that calls one product after another.
    options: dict[str, Any] = {"guard_filter_fn": of_arguments, "cpp_wrapper": device == "cpu"}
    return torch.compile(own, dynamic=False, fullgraph=True, options=options)


class CudaGraphExecutor:
    """Sequences of updates as CUDA graphs: one for each pattern of flags, its inputs copied into fixed places."""

    def __init__(self, execute: EagerExecutor, stream: torch.cuda.Stream) -> None:
        self._execute, self._stream = execute, stream
        self._graphs: dict[tuple[tuple[bool, ...], ...], _Graph] = {}

    def __call__(self, state: SacState, due: Sequence[PendingUpdate]) -> Losses:
        """Replay the graph of this pattern of updates, captured at its first call."""
        pattern = tuple((one.with_actor, one.with_targets, one.actor_batch is None, one.memory is None) for one in due)
        if pattern not in self._graphs:
            self._graphs[pattern] = _Graph(self._execute, self._stream, state, due)
        return self._graphs[pattern].replay(due)

    def warm_up(self, state: SacState, due: Sequence[PendingUpdate]) -> None:
        """Compile, without a capture: that holds on to the state it is made with."""
        self._execute.warm_up(state, due)


class _Graph:
    """One capture; it holds on to the very tensors of the state that it was captured with."""

    def __init__(
        self, execute: EagerExecutor, stream: torch.cuda.Stream, state: SacState, due: Sequence[PendingUpdate]
    ) -> None:
        self._inputs = [_copy(one) for one in due]
        before = {name: tensor.clone() for name, tensor in state.tensors().items()}

        def restore() -> None:
            for name, tensor in state.tensors().items():
                tensor.copy_(before[name])

        self._graph, self._losses = _capture(lambda: execute(state, self._inputs), stream, restore)

    def replay(self, due: Sequence[PendingUpdate]) -> Losses:
        for own, one in zip(self._inputs, due, strict=True):
            for mine, given in zip(_tensors(own), _tensors(one), strict=True):
                mine.copy_(given, non_blocking=True)
        self._graph.replay()
        return self._losses


class CapturedCall:
    """A function of tensors that stay where they are, as one CUDA graph."""

    def __init__(self, function: Callable[[], Tensor], stream: torch.cuda.Stream) -> None:
        self._graph, self._result = _capture(function, stream)

    def __call__(self) -> Tensor:
        """Its result, which the next call overwrites."""
        self._graph.replay()
        return self._result


def _capture(
    function: Callable[[], Captured], stream: torch.cuda.Stream, undo: Callable[[], None] = lambda: None
) -> tuple[torch.cuda.CUDAGraph, Captured]:
    """Call a function until libraries have allocated what they need, undo that, and capture it; with what it returns.

    Args:
        function: Works on tensors that stay where they are.
        stream: Of all graphs that end together, and of no others. Torch keeps the workspaces of its products by stream,
            and one that frees them with a graph (2.13) would take them from another graph of the stream.
        undo: Puts back what the calls have changed.
    """
    graph = torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(CAPTURE_WARM_UP):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    undo()
    # An old graph that Python finds among its garbage, and destroys, within a capture breaks it.
    gc.collect()
    gc.disable()
    try:
        with torch.cuda.graph(graph, stream=stream, capture_error_mode=CAPTURE_MODE):
            result = function()
    finally:
        gc.enable()
    return graph, result


def _tensors(due: PendingUpdate) -> list[Tensor]:
    """All that an update learns from, and which lanes do."""
    rows = [one.rows for one in (due.batch, due.actor_batch, due.memory) if one is not None]
    return [*rows, *(one for one in (due.noise, due.active, due.tracking) if one is not None)]


def _copy(due: PendingUpdate) -> PendingUpdate:
    """The same update on tensors of its own."""

    def copied(batch: AnyBatch | None) -> AnyBatch | None:
        return batch and replace(batch, rows=batch.rows.clone())

    batch = replace(due.batch, rows=due.batch.rows.clone())
    actor_batch, memory = copied(due.actor_batch), copied(due.memory)
    active, tracking = (None if one is None else one.clone() for one in (due.active, due.tracking))
    return PendingUpdate(
        batch, due.noise.clone(), due.with_actor, due.with_targets, actor_batch, memory, active, tracking
    )
