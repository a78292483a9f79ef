"""The tree of seeds: every use its own stream, and the same numbers for ever."""

from itertools import product

import numpy as np
import pytest

from nbsp_ray.learning.seeding import Stream, generator, seed_sequence, torch_seed


def test_no_two_uses_share_a_stream() -> None:
    leaves = list(product((0, 1, 2, 10**12), (0, 1), Stream, ((), (0,), (1,), (0, 0), (0, 1), (5_000, 9))))
    first = {tuple(generator(*leaf[:3], *leaf[3]).integers(2**63, size=2)) for leaf in leaves}
    assert len(first) == len(leaves)
    assert len({torch_seed(*leaf[:3], *leaf[3]) for leaf in leaves}) == len(leaves)


def test_the_numbers_of_streams_never_change() -> None:
    assert {stream.name: stream.value for stream in Stream} == {
        "NETWORKS": 0, "TRAINING": 1, "UPDATES": 2, "EVALUATION": 3,
        "FINAL": 4, "METHOD": 5, "SAMPLE": 6, "DRIFT": 7,
        "PROBE_NEURONS": 8, "PROBE_EPISODES": 9, "PROBE_TRANSITIONS": 10, "CONFIRMATION": 11,
        "BETWEEN": 12,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("leaf", "number", "torch_number"),
    [
        ((0, 0, Stream.NETWORKS), 5_212_420_523_617_970_750, 1_317_536_309_490_288_386),
        ((0, 1, Stream.TRAINING, 3), 7_857_340_976_107_203_470, 8_663_758_656_737_018_464),
        ((7, 0, Stream.EVALUATION, 5_000, 9), 2_305_490_695_603_101_969, 4_037_823_502_677_211_516),
        ((7, 1, Stream.UPDATES, 12), 625_586_011_213_338_565, 5_853_186_350_186_894_204),
    ],
)
def test_golden_numbers(leaf: tuple[int, int, Stream], number: int, torch_number: int) -> None:
    assert int(generator(*leaf).integers(2**63)) == number
    assert torch_seed(*leaf) == torch_number
    assert 0 <= torch_number < 2**63


def test_a_leaf_is_a_function_of_its_name() -> None:
    one, other = (generator(3, 1, Stream.FINAL, 8) for _ in range(2))
    assert one.random(5).tolist() == other.random(5).tolist()
    np.random.seed(0)
    before = generator(3, 1, Stream.FINAL, 8).random()
    np.random.seed(1)
    assert generator(3, 1, Stream.FINAL, 8).random() == before
    assert seed_sequence(3, 1, Stream.FINAL, 8).spawn_key == (1, 4, 8)
