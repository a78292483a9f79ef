"""L agents as one: the tensors of all lanes side by side, and an update of all of them in one call.

A slot holds one phase's agent and buffer. Slots have one size and stay where they are: a phase is copied into one and
works on its view of it, so that neither compiled code nor a captured graph notices who comes and goes. A lane that has
nothing to learn rests: its numbers are computed with all others', and put back.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nbsp_ray.benchmarks import Frames, Observation, Spaces
from nbsp_ray.config.schema import Resources, Sac
from nbsp_ray.layout import row_width
from nbsp_ray.learning import compiling
from nbsp_ray.learning.agent import Agent, new_executor
from nbsp_ray.learning.execution import CapturedCall, DrawnUpdate, Executor, PendingUpdate
from nbsp_ray.learning.networks import forward
from nbsp_ray.learning.replay import AnyBatch, AnyChoice, AnyReplay, Choice, Replay, blank_batch
from nbsp_ray.learning.sac import (
    PARTS,
    GradientChange,
    Losses,
    Moments,
    Penalty,
    QuadraticPenalty,
    SacState,
    UpdateRule,
)
from nbsp_ray.specs import LANES_MAY_DIFFER

MASKS = 256
"""So many are kept of those that say which lanes take part, and of their numbers."""


class Lanes:
    """Slots for agents of one shape.

    Args:
        slots: L.
        like: An agent of that shape: its settings, spaces and device are everyone's.
        capacity: Transitions of the largest buffer that comes.
        resources: How the update is made.
        compile: Whether it is compiled.
    """

    def __init__(self, slots: int, like: Agent, capacity: int, resources: Resources, *, compile: bool) -> None:
        self.slots, self.sac, self.spaces, self.device = slots, like.sac, like.spaces, like.device
        self.problem = like.problem
        self._resources, self._compile = resources, compile
        self._graphs = self.device.type == "cuda" and resources.cuda_graphs
        every = {name: one.repeat(slots, *[1] * (one.ndim - 1)) for name, one in like.state.parts().items()}
        self.state = SacState(**every, moments={})
        shapes = {"actor": self.state.actor, "critic": self.state.critic}
        self._rules = {part: PartRules(shapes[part]) for part in PARTS}
        # What is drawn from one buffer of all lanes is read in one gather. Frames are stacked as they are read.
        frames = isinstance(self.spaces.observation, Frames)
        shape = slots, 0 if frames else capacity, row_width(self.spaces)
        self._transitions = torch.empty(shape, device=self.device)
        self._buffers: dict[int, AnyReplay] = {}
        self._batches: dict[tuple[int, str], AnyBatch] = {}
        self._noises: list[HostNoise] = []
        numbers, device = range(slots), self.device
        self._masks = lru_cache(MASKS)(lambda those: torch.tensor([one in those for one in numbers], device=device))
        self._indices = lru_cache(MASKS)(lambda those: torch.tensor(those, device=device))
        self._executor: Executor | None = None
        self._acting: CapturedCall | None = None
        self._seen = torch.empty(0)
        self.notes: list[str] = []
        """Why the update is not compiled although it was asked for."""

    def put(self, slot: int, agent: Agent, replay: AnyReplay) -> None:
        """Let an agent and its buffer live in a slot from now on: they become views of it."""
        if other := differs(agent.sac, agent.spaces, self.sac, self.spaces):
            raise ValueError(f"lanes of a pack have one shape, and this phase has another: {', '.join(other)}")
        for name, tensor in self.state.tensors().items():
            tensor[slot].copy_(agent.state.tensors()[name][0])
        agent.state = self.view(slot)
        self._renew([rules.put(slot, agent.rules.get(part, UpdateRule())) for part, rules in self._rules.items()])
        if isinstance(replay, Replay):
            replay.move(self._transitions[slot])
            self._buffers[slot] = replay

    def clear(self, slot: int) -> None:
        """Nobody lives in a slot any more: no rule of its agent costs time."""
        self._renew([rules.put(slot, UpdateRule()) for rules in self._rules.values()])
        self._buffers.pop(slot, None)

    def _renew(self, changed: Sequence[bool]) -> None:
        """Build the update anew if anything has changed in it; all graphs are captured anew then (`_capture`)."""
        if any(changed):
            self._executor = self._acting = None

    @cached_property
    def capture_stream(self) -> torch.cuda.Stream:
        """As of `Learner`."""
        return torch.cuda.Stream()

    def view(self, slot: int) -> SacState:
        """The state of one lane, in the very memory of all."""
        lane, state = slice(slot, slot + 1), self.state
        moments = {
            name: Moments(*(tensor[lane] for tensor in one.tensors().values())) for name, one in state.moments.items()
        }
        return SacState(**{name: one[lane] for name, one in state.parts().items()}, moments=moments)

    @torch.no_grad()
    def outputs(self, observations: Mapping[int, Observation]) -> npt.NDArray[np.float32]:
        """What the actors of some lanes give for an observation of each (lanes, outputs), in one launch."""
        slots, layout, actor = list(observations), self.problem.actor, self.state.actor
        first = observations[slots[0]]
        host = np.zeros((self.slots, *first.shape), first.dtype)
        host[slots] = list(observations.values())
        seen = torch.from_numpy(host)[:, None, None]
        if not self._graphs:
            found = forward(layout, actor, seen.to(self.device))
        else:
            if self._acting is None:
                self._seen = seen.to(self.device)
                self._acting = CapturedCall(lambda: forward(layout, actor, self._seen), self.capture_stream)
            self._seen.copy_(seen)
            found = self._acting()
        outputs: npt.NDArray[np.float32] = found[:, 0, 0].cpu().numpy()
        return outputs[slots]

    def update(self, drawn: Sequence[Mapping[int, DrawnUpdate]]) -> dict[int, "LaneLosses"]:
        """One update of some lanes, by slot, or several of the same lanes in one launch; each lane's last losses.

        In each the actors of all of these lanes take part, or of none.
        """
        due = [self._pending(number, of_lanes) for number, of_lanes in enumerate(drawn)]
        losses = (self._executor or self._built())(self.state, due)
        if self._graphs:  # A captured graph writes the next losses where these are.
            actor = None if losses.actor is None else losses.actor.clone()
            losses = Losses(losses.critic.clone(), actor, losses.alpha.clone())
        return {slot: LaneLosses(losses, slot) for slot in drawn[-1]}

    def _pending(self, number: int, drawn: Mapping[int, DrawnUpdate]) -> PendingUpdate:
        (with_actor,) = {one.with_actor for one in drawn.values()}
        read = partial(self._read, number)
        memory = {slot: one.memory for slot, one in drawn.items() if one.memory is not None}
        apart = any(one.actor_batch is not None for one in drawn.values())
        tracking = [slot for slot, one in drawn.items() if one.with_targets]
        masked = self._graphs or self._compile or len(drawn) < self.slots
        return PendingUpdate(
            batch=read("batch", {slot: one.batch for slot, one in drawn.items()}),
            noise=self._noise(number).put({slot: one.noise for slot, one in drawn.items()}),
            with_actor=with_actor,
            with_targets=bool(tracking),
            actor_batch=read("actor", {s: one.actor_batch or one.batch for s, one in drawn.items()}) if apart else None,
            memory=read("memory", memory) if memory or self._reads_memory else None,
            # What is compiled or captured always has a mask, so that there is one code for whoever rests.
            active=self._mask(drawn) if masked else None,
            tracking=self._mask(tracking) if masked or len(tracking) < len(drawn) else None,
        )

    def _mask(self, slots: Iterable[int]) -> Tensor:
        """Those slots of all, on the device: to put it there would wait for all that the device has to do."""
        return self._masks(tuple(sorted(slots)))

    def _index(self, slots: Iterable[int]) -> Tensor:
        """The numbers of those slots, in their order, on the device; kept there, as masks are."""
        return self._indices(tuple(slots))

    def _noise(self, number: int) -> "HostNoise":
        """Where the noise of the first, second, ... update of a launch lies."""
        while len(self._noises) <= number:
            shape = 1 + self.sac.policy_frequency, self.slots, self.sac.batch_size, self.problem.noise
            self._noises.append(HostNoise(shape, self.device))
        return self._noises[number]

    def _read(self, number: int, name: str, choices: Mapping[int, AnyChoice]) -> AnyBatch:
        """Transitions of some lanes, where those of all lie; what others had there stays."""
        if (number, name) not in self._batches:
            blank = blank_batch(self.spaces, self.sac.batch_size, self.device)
            rows = blank.rows.repeat(self.slots, *[1] * (blank.rows.ndim - 1))
            self._batches[number, name] = replace(blank, rows=rows)
        rows = self._batches[number, name].rows
        near: dict[int, Tensor] = {}
        shared: dict[int, list[tuple[int, Choice]]] = {}
        for slot, choice in choices.items():
            if isinstance(choice, Choice) and choice.buffer is self._buffers.get(slot):
                near[slot] = choice.numbers
            elif isinstance(choice, Choice):
                shared.setdefault(id(choice.buffer), []).append((slot, choice))
            else:
                rows[slot] = choice.batch().rows[0]
        for of_buffer in shared.values():  # Of an earlier phase that several lanes follow: one gather for all of them.
            numbers = torch.cat([one.numbers for _, one in of_buffer])
            taken = of_buffer[0][1].buffer.take(numbers).rows[0].unflatten(0, (len(of_buffer), -1))
            rows.index_copy_(0, self._index(slot for slot, _ in of_buffer), taken)
        if near:
            slots, flat = list(near), self._transitions.flatten(0, 1)
            starts = torch.tensor(slots).unsqueeze(1) * self._transitions.shape[1]
            places = (torch.stack(list(near.values())) + starts).flatten().to(self.device, non_blocking=True)
            if len(slots) == self.slots and slots == sorted(slots):
                torch.index_select(flat, 0, places, out=rows.flatten(0, 1))
            else:
                rows.index_copy_(0, self._index(slots), flat.index_select(0, places).unflatten(0, (len(slots), -1)))
        return self._batches[number, name]

    @property
    def _reads_memory(self) -> bool:
        return any(rules.rule().reads_memory for rules in self._rules.values())

    def _built(self) -> Executor:
        rules = {part: one.rule() for part, one in self._rules.items()}
        why_not = compiling.build(self, rules, self._resources, compile=self._compile)
        if why_not:
            self.notes, self._compile = [why_not], False
        assert self._executor is not None
        return self._executor

    def build_update(
        self,
        rules: Mapping[str, UpdateRule],
        *,
        compile: bool = False,
        alike: str | None = None,
        cuda_graphs: bool = False,
    ) -> None:
        """Build the update of all lanes, as `Agent.build_update` does that of one."""
        self._executor = new_executor(self, rules, compile=compile, alike=alike, cuda_graphs=cuda_graphs)

    def warm_up(self) -> None:
        """Compile all that learning will need; changes nothing."""
        blank, noise = self._read(0, "batch", {}), self._noise(0).put({})
        memory = self._read(0, "memory", {}) if self._reads_memory else None
        nobody = self._mask(())
        for with_actor in (True,) if self.sac.policy_frequency == 1 else (True, False):
            due = PendingUpdate(blank, noise, with_actor, True, None, memory, nobody, nobody)
            assert self._executor is not None
            self._executor.warm_up(self.state, [due])


class HostNoise:
    """What is drawn on the host for all lanes, side by side (..., slots, batch, size), and goes to the device."""

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self._device, on_gpu = device, device.type == "cuda"
        self._host = torch.zeros(shape, pin_memory=on_gpu)
        self._read = torch.cuda.Event() if on_gpu else None

    def put(self, drawn: Mapping[int, Tensor]) -> Tensor:
        """That of some lanes (..., 1, batch, size), by slot; what others had stays."""
        if self._read is not None:
            self._read.synchronize()  # What was put there before may still be on its way.
        if len(drawn) == self._host.shape[-3]:
            torch.cat([drawn[slot] for slot in range(len(drawn))], dim=-3, out=self._host)
        else:
            for slot, noise in drawn.items():
                self._host[..., slot, :, :] = noise[..., 0, :, :]
        there = self._host.to(self._device, non_blocking=True)
        if self._read is not None:
            self._read.record()
        return there


class LaneLosses(NamedTuple):
    """The losses of one lane of many, as `Losses`: taken from those of all when they are reported."""

    of_all: Losses
    slot: int

    @property
    def critic(self) -> Tensor:
        """(1,)."""
        return self._own(self.of_all.critic)

    @property
    def actor(self) -> Tensor | None:
        """(1,), if it took part."""
        return None if self.of_all.actor is None else self._own(self.of_all.actor)

    @property
    def alpha(self) -> Tensor:
        """(1,)."""
        return self._own(self.of_all.alpha)

    def _own(self, values: Tensor) -> Tensor:
        return values[self.slot : self.slot + 1]


def differs(sac: Sac, spaces: Spaces, other_sac: Sac, other_spaces: Spaces) -> list[str]:
    """Why two phases cannot be lanes of one pack: settings that are parts of the update, or spaces."""
    unequal = [name for name, value in sac if name not in LANES_MAY_DIFFER and value != getattr(other_sac, name)]
    return [f"sac.{name}" for name in unequal] + ["spaces"] * (spaces != other_spaces)


class PartRules:
    """The rules of one part in all lanes. What is data stays where it is; other terms are each lane's own."""

    def __init__(self, stack: Tensor) -> None:
        self._stack = stack
        self._scale: Tensor | None = None
        self._quadratic: list[QuadraticPenalty] = []
        self._others: dict[int, UpdateRule] = {}

    def put(self, slot: int, rule: UpdateRule) -> bool:
        """The rule of one lane; whether the update must be built anew, as there is something of another kind."""
        anew = len(rule.quadratic) > len(self._quadratic) or bool(rule.penalties or rule.gradients)
        if self._scale is None and rule.update_scale is not None:
            self._scale, anew = torch.ones_like(self._stack), True
        if self._scale is not None:
            self._scale[slot] = 1.0 if rule.update_scale is None else rule.update_scale[0]
        while len(self._quadratic) < len(rule.quadratic):
            none = torch.zeros(len(self._stack), device=self._stack.device)
            self._quadratic.append(QuadraticPenalty(none, torch.zeros_like(self._stack), torch.zeros_like(self._stack)))
        for number, own in enumerate(self._quadratic):
            assert own.importance is not None
            if number < len(rule.quadratic):
                given = rule.quadratic[number]
                own.coefficient[slot], own.weights[slot] = given.coefficient[0], given.weights[0]
                own.importance[slot] = 1.0 if given.importance is None else given.importance[0]
            else:
                own.coefficient[slot], own.weights[slot], own.importance[slot] = 0.0, 0.0, 0.0
        anew |= self._others.pop(slot, None) is not None
        if rule.penalties or rule.gradients:
            self._others[slot] = rule
        return anew

    def rule(self) -> UpdateRule:
        """One rule for all lanes."""
        penalties = [_in_lane(slot, one) for slot, rule in self._others.items() for one in rule.penalties]
        changes = {slot: rule for slot, rule in self._others.items() if rule.gradients}
        reads = any(rule.reads_memory for rule in self._others.values())
        return UpdateRule(
            self._scale, tuple(self._quadratic), tuple(penalties), (_in_lanes(changes),) if changes else (), reads
        )


def _in_lane(slot: int, penalty: Penalty) -> Penalty:
    lane = slice(slot, slot + 1)

    def of(batch: AnyBatch) -> AnyBatch:
        return replace(batch, rows=batch.rows[lane])

    return lambda stack, batch, memory: penalty(stack[lane], of(batch), None if memory is None else of(memory))


def _in_lanes(rules: Mapping[int, UpdateRule]) -> GradientChange:
    """The changes of the gradient of some lanes; the gradient on the memory is made once for all of them."""
    reads = any(rule.reads_memory for rule in rules.values())

    def change(gradient: Tensor, on_memory: Callable[[], Tensor]) -> Tensor:
        of_lanes = list(gradient.split(1))
        references: Sequence[Tensor] = on_memory().split(1) if reads else ()

        def reference(slot: int) -> Tensor:
            return references[slot]

        for slot, rule in rules.items():
            for one in rule.gradients:
                of_lanes[slot] = one(of_lanes[slot], partial(reference, slot))
        return torch.cat(of_lanes)

    return change
