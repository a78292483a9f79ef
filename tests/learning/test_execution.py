"""However updates are executed, they are the same updates; and bfloat16 is where it should be, and nowhere else."""

import contextlib
import gc
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from nbsp_ray.benchmarks import Continuous, Spaces, Vector
from nbsp_ray.config.schema import Sac
from nbsp_ray.layout import Layout
from nbsp_ray.learning.agent import Agent
from nbsp_ray.learning.execution import CAPTURE_WARM_UP, CapturedCall
from nbsp_ray.learning.networks import Trace, forward
from nbsp_ray.learning.replay import Mixture, Replay, row_width
from nbsp_ray.learning.sac import PARTS, UpdateRule, build_update

SPACES = Spaces(Vector(5), Continuous(2))
SETTINGS = Sac(hidden=(8,), batch_size=16, policy_frequency=1, actor_lr=3e-3, gamma=0.9)
"""Sizes of the toy phase that `test_compiling` compiles: they share most of the code."""
CPU = torch.device("cpu")
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def replay(seed: int = 0, device: torch.device = CPU) -> Replay:
    rows = np.random.default_rng(seed).standard_normal((100, row_width(SPACES))).astype(np.float32)
    rows[:, -1] = rows[:, -1] > 1
    return Replay.of(SPACES, rows, device)


def agent(sac: Sac = SETTINGS, device: torch.device = CPU) -> Agent:
    return Agent(sac, SPACES, device, np.random.default_rng(1))


def restraints(agent: Agent, every: int = 3) -> Mapping[str, UpdateRule]:
    """Every third parameter of the critics frozen, every fifth slowed; the actor held to where it is."""
    scale = torch.ones_like(agent.state.critic)
    scale[..., ::5], scale[..., ::every] = 0.25, 0.0
    anchor = agent.state.actor.clone()
    return {
        "critic": UpdateRule(update_scale=scale),
        "actor": UpdateRule(penalties=(lambda actor, batch, memory: 10 * (actor - anchor).square().sum((-2, -1)),)),
    }


def learn(agent: Agent, updates: int, data: Replay) -> None:
    agent.learn_until(agent.updates.critic + updates, data, torch.Generator().manual_seed(3), lambda _: {})


def assert_equal_but_for_rounding(one: Agent, other: Agent) -> None:
    for name, tensor in one.state.tensors().items():
        torch.testing.assert_close(tensor, other.state.tensors()[name], rtol=2e-4, atol=2e-6, msg=name)


def test_compiled_updates_are_the_written_ones_and_frozen_weights_keep_every_bit(compiled_code: None) -> None:
    from torch._dynamo.utils import counters  # It takes two seconds, and other processes collect this file too.

    written, compiled = agent(), agent()
    written.build_update(restraints(written))
    compiled.build_update(restraints(compiled), compile=True, alike="restrained")
    before = {name: tensor.clone() for name, tensor in compiled.state.tensors().items()}
    compiled.warm_up()
    assert all(torch.equal(tensor, before[name]) for name, tensor in compiled.state.tensors().items())
    for one in (written, compiled):
        learn(one, 5, replay())
    assert_equal_but_for_rounding(written, compiled)
    critic = compiled.state.critic
    assert torch.equal(critic[..., ::3], before["critic"][..., ::3])
    assert (critic != before["critic"]).float().mean() > 0.5
    assert compiled.state.moments["critic"].beta1_power.item() == pytest.approx(0.9**5)
    for one in (written, compiled):  # And where the parts have batches of their own.
        past, rng = Mixture([replay(seed=1)]), torch.Generator().manual_seed(4)
        one.learn_until(7, replay(), rng, lambda _: {"critic": past})  # noqa: B023
    assert_equal_but_for_rounding(written, compiled)
    assert compiled.updates.past_share() == {"critic": 2 / 7, "actor": 0}
    # Another phase of this process, which differs in tensors alone, learns by the same graphs.
    del compiled
    gc.collect()
    traced = counters["stats"]["unique_graphs"]
    written, compiled = agent(), agent()
    for one in (written, compiled):
        one.state.actor.mul_(0.5)
    written.build_update(restraints(written, every=4))
    compiled.build_update(restraints(compiled, every=4), compile=True, alike="restrained")
    compiled.warm_up()
    for one in (written, compiled):
        learn(one, 5, replay())
    assert_equal_but_for_rounding(written, compiled)
    assert torch.equal(compiled.state.critic[..., ::4], before["critic"][..., ::4])
    assert not torch.equal(compiled.state.critic[..., ::3], before["critic"][..., ::3])
    assert counters["stats"]["unique_graphs"] == traced > 0


def test_compiled_agents_that_take_turns_keep_to_their_own_settings(compiled_code: None) -> None:
    """What is passed to the two is alike in every size: what differs is in the losses alone."""
    settings = SETTINGS, SETTINGS.model_copy(update={"gamma": 0.0, "alpha_lr": 0.1})
    written, compiled = [agent(sac) for sac in settings], [agent(sac) for sac in settings]
    for one in compiled:
        one.build_update({}, compile=True)
    for _ in range(2):
        for one in (*written, *compiled):
            learn(one, 1, replay())
    for pair in zip(written, compiled, strict=True):
        assert_equal_but_for_rounding(*pair)
    assert not torch.allclose(compiled[0].state.critic, compiled[1].state.critic, rtol=1e-3)


def test_several_updates_that_are_due_are_those_made_one_by_one() -> None:
    sac = SETTINGS.model_copy(update={"policy_frequency": 2, "target_period": 3})
    together, one_by_one = agent(sac), agent(sac)
    now, past = replay(), Mixture([replay(seed=1)])
    rngs = [torch.Generator().manual_seed(3) for _ in range(2)]
    together.learn_until(7, now, rngs[0], lambda update: dict.fromkeys(PARTS, past) if update % 4 == 0 else {})
    for update in range(7):
        one_by_one.learn(now, rngs[1], past=past if update % 4 == 0 else None)
    for name, tensor in together.state.tensors().items():
        assert torch.equal(tensor, one_by_one.state.tensors()[name]), name
    assert together.updates == one_by_one.updates
    assert (together.updates.critic, together.updates.actor, together.updates.critic_past) == (7, 4, 2)


def test_each_part_learns_from_its_own_buffer_where_they_differ() -> None:
    now, past = replay(), Mixture([replay(seed=1)])

    def learnt(*of_past: str) -> Agent:
        found = agent()
        found.learn_until(1, now, torch.Generator().manual_seed(3), lambda _: dict.fromkeys(of_past, past))
        return found

    def by_hand(of_critic: Replay, of_actor: Replay) -> Agent:
        found, rng = agent(), torch.Generator().manual_seed(3)
        batch, noise = of_critic.sample(16, rng), torch.randn((2, 1, 16, 2), generator=rng)
        update, own = build_update(SETTINGS, found.problem, {}), of_actor.sample(16, rng)
        update.critics(found.state, batch, noise[0], True)
        update.actor(found.state, own, noise[1])
        return found

    assert learnt("actor").updates.past_share() == {"critic": 0, "actor": 1}
    assert learnt("critic").updates.past_share() == {"critic": 1, "actor": 0}
    (old,) = past.buffers
    assert isinstance(old, Replay)
    for found, expected in ((learnt("actor"), by_hand(now, old)), (learnt("critic"), by_hand(old, now))):
        for name, tensor in found.state.tensors().items():
            assert torch.equal(tensor, expected.state.tensors()[name]), name
    # The critics' batch and noise are those of an update whose parts have one batch.
    assert torch.equal(learnt("critic").state.critic, learnt("actor", "critic").state.critic)
    assert torch.equal(learnt("actor").state.critic, learnt().state.critic)
    assert not torch.equal(learnt("actor").state.actor, learnt().state.actor)


def test_no_second_batch_is_drawn_where_the_actor_does_not_take_part() -> None:
    sac = SETTINGS.model_copy(update={"policy_frequency": 2})
    one, other = agent(sac), agent(sac)
    now, past = replay(), Mixture([replay(seed=1)])
    for found, of_past in ((one, {"actor": past}), (other, {})):
        rng = torch.Generator().manual_seed(3)
        found.updates.critic = 1
        found.learn_until(2, now, rng, lambda _: of_past)  # noqa: B023
    assert torch.equal(one.state.critic, other.state.critic)
    assert one.updates == other.updates


def test_targets_move_in_every_period_only() -> None:
    found = agent(SETTINGS.model_copy(update={"target_period": 3, "tau": 1.0}))
    start = found.state.target.clone()
    learn(found, 2, replay())
    assert torch.equal(found.state.target, start)
    learn(found, 1, replay())
    assert torch.equal(found.state.target, found.state.critic)


def test_a_copy_of_the_state_shares_nothing_and_lacks_nothing() -> None:
    found = agent()
    learn(found, 1, replay())
    copy = found.state.clone()
    for name, tensor in found.state.tensors().items():
        assert torch.equal(copy.tensors()[name], tensor)
        copy.tensors()[name].add_(1)
        assert not torch.equal(copy.tensors()[name], tensor)


LAYOUT = Layout(inputs=64, hidden=(64, 64), outputs=3)
INPUTS = torch.from_numpy(np.random.default_rng(2).standard_normal((1, 1, 32, 64)).astype(np.float32))


def stack() -> torch.Tensor:
    return torch.from_numpy(LAYOUT.initial(2, np.random.default_rng(4))).unsqueeze(0)


def test_bf16_rounds_products_to_eight_bits_and_nothing_that_is_kept() -> None:
    exact = forward(LAYOUT, stack(), INPUTS)
    rounded = forward(LAYOUT, stack(), INPUTS, precision=torch.bfloat16)
    assert rounded.dtype == torch.float32
    # An output of three layers of 64 terms, each rounded to 1 part in 256: some tenths of a percent of the largest.
    error = (rounded - exact).abs().max() / exact.abs().max()
    assert 1e-4 < error < 2e-2


def test_what_is_traced_is_exact_whatever_the_precision() -> None:
    trace = Trace()
    assert torch.equal(
        forward(LAYOUT, stack(), INPUTS, trace, precision=torch.bfloat16), forward(LAYOUT, stack(), INPUTS)
    )
    assert all(layer.dtype == torch.float32 for layer in trace.activations)


def test_an_agent_learns_in_bf16_with_float32_weights_and_moments() -> None:
    exact, rounded = agent(), agent(SETTINGS.model_copy(update={"precision": "bf16"}))
    start = exact.state.critic.clone()
    for one in (exact, rounded):
        learn(one, 1, replay())
    for name, tensor in rounded.state.tensors().items():
        assert tensor.dtype == exact.state.tensors()[name].dtype
    assert not torch.equal(exact.state.critic, rounded.state.critic)
    one, other = (found.state.moments["critic"].mean.flatten() for found in (exact, rounded))
    assert torch.nn.functional.cosine_similarity(one, other, dim=0) > 0.999
    assert not torch.equal(rounded.state.critic, start)


@on_a_gpu
@pytest.mark.parametrize("compile", [False, True])
def test_captured_updates_are_the_written_ones(compile: bool) -> None:
    gpu = torch.device("cuda")
    sac = SETTINGS.model_copy(update={"policy_frequency": 2})
    written, captured = agent(sac, gpu), agent(sac, gpu)
    captured.build_update({}, compile=compile, cuda_graphs=True)
    captured.warm_up()
    for count in (1, 1, 4, 4, 1):
        for one in (written, captured):
            learn(one, count, replay(device=gpu))
        assert_equal_but_for_rounding(written, captured)


@on_a_gpu
def test_captured_parts_learn_from_their_own_batches_too() -> None:
    gpu = torch.device("cuda")
    sac = SETTINGS.model_copy(update={"policy_frequency": 2})
    written, captured = agent(sac, gpu), agent(sac, gpu)
    captured.build_update({}, cuda_graphs=True)
    now, past = replay(device=gpu), Mixture([replay(seed=1, device=gpu)])
    for one in (written, captured):
        rng = torch.Generator().manual_seed(3)
        for updates in (1, 2, 3, 4, 8, 12, 13, 14):
            one.learn_until(updates, now, rng, lambda update: {"actor": past} if update % 4 == 0 else {})
    assert_equal_but_for_rounding(written, captured)
    assert captured.updates.past_share() == {"critic": 0, "actor": 4 / 7}


@on_a_gpu
def test_capturing_leaves_the_state_as_it_would_be() -> None:
    gpu = torch.device("cuda")
    written, captured = agent(device=gpu), agent(device=gpu)
    captured.build_update({}, cuda_graphs=True)
    for one in (written, captured):
        learn(one, 1, replay(device=gpu))  # The first launch, which has a warm-up before it.
    assert_equal_but_for_rounding(written, captured)
    assert captured.state.moments["critic"].beta1_power.item() == pytest.approx(0.9)


def test_compiled_lanes_are_the_written_ones(compiled_code: None) -> None:
    """One rests in some updates, and one has a rule: the code of all is one."""
    from test_lanes import Learner, assert_equal, lanes, put, together

    written, compiled = ([Learner(number) for number in range(2)] for _ in range(2))
    for learners, stack in ((written, lanes(2, written[0])), (compiled, lanes(2, compiled[0], compile=True))):
        put(stack, dict(enumerate(learners)))
        together(stack, dict(enumerate(learners)), 4)
        together(stack, {1: learners[1]}, 2)
    for one, other in zip(written, compiled, strict=True):
        assert_equal(one, other, exactly=False)


def test_no_garbage_is_looked_for_in_a_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of things, without a GPU; also where the capture fails."""
    said: list[str] = []

    class Stream:
        def wait_stream(self, other: object) -> None:
            said.append("wait")

    @contextlib.contextmanager
    def graph(graph: object, stream: object, capture_error_mode: str) -> Iterator[None]:
        said.append("captured on its own" if stream is own and not gc.isenabled() else "disturbed")
        yield
        raise RuntimeError("a capture that fails")

    def call() -> torch.Tensor:
        said.append("call")
        return torch.ones(1)

    own: Any = Stream()
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    with pytest.raises(RuntimeError, match="a capture that fails"):
        CapturedCall(call, own)
    assert said == ["wait", *["call"] * CAPTURE_WARM_UP, "wait", "captured on its own", "call"]
    assert gc.isenabled()
