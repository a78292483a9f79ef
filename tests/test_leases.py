"""Claims: of several drivers one has a phase, and what a dead one had is free again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nbsp_ray.orchestration.gate import Gate, State
from nbsp_ray.store import Store
from nbsp_ray.store.leases import EXPIRED_SECONDS, Driver

KEY = "0123456789abcdef0123"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, create=True)


def test_one_of_two_drivers_has_a_phase_until_it_leaves(store: Store) -> None:
    with Driver(store.files) as two:
        with Driver(store.files) as one:
            assert one.claim(KEY)
            assert one.claim(KEY)
            assert not two.claim(KEY)
        assert two.claim(KEY)
        with Driver(store.files) as later:
            assert not later.claim(KEY)
    assert store.files.names("drivers") == []
    with Driver(store.files) as later:
        assert later.claim(KEY), "those that had it have left"


def test_of_many_that_find_a_claim_expired_one_gets_it(store: Store) -> None:
    with Driver(store.files) as gone:
        assert gone.claim(KEY)
    drivers = [Driver(store.files) for _ in range(5)]
    for driver in drivers:
        driver.renew()
    assert [driver.claim(KEY) for driver in drivers] == [True, False, False, False, False]


@pytest.mark.parametrize("skew", [-86_400.0, 86_400.0])
def test_a_silent_driver_is_gone_whatever_the_clocks_say(
    skew: float, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The times are those of the storage: here all of them are a day off this machine's clock."""
    now = os.stat(store.root).st_mtime + skew
    one, two = Driver(store.files), Driver(store.files)

    def renewed(driver: Driver, at: float) -> None:
        Driver.renew(driver)
        os.utime(store.root / f"drivers/{driver.id}.json", (at, at))

    renewed(one, now)
    assert one.claim(KEY)
    monkeypatch.setattr(two, "renew", lambda: renewed(two, now + EXPIRED_SECONDS - 1))
    assert not two.claim(KEY)
    monkeypatch.setattr(two, "renew", lambda: renewed(two, now + EXPIRED_SECONDS + 1))
    assert two.claim(KEY)


def test_a_driver_that_died_on_this_machine_is_gone_at_once(store: Store) -> None:
    code = (
        "import os, sys; from nbsp_ray.store import Store; from nbsp_ray.store.leases import Driver\n"
        f"driver = Driver(Store(sys.argv[1]).files); driver.renew(); assert driver.claim({KEY!r}); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(store.root)], check=False).returncode == 9
    with Driver(store.files) as driver:
        assert driver.claim(KEY)


def test_two_gates_share_the_work_and_do_none_of_it_twice(store: Store) -> None:
    needs = {"a" * 20: (), "b" * 20: (), "c" * 20: ("a" * 20,)}
    done = set[str]()
    with Driver(store.files) as one, Driver(store.files) as two:
        gates = [Gate(needs, done.__contains__), Gate(needs, done.__contains__)]
        gates[0].claim, gates[1].claim = one.claim, two.claim
        assert gates[0].next() == "a" * 20
        assert gates[1].next() == "b" * 20
        assert gates[0].next() is gates[1].next() is None
        assert not gates[0].is_finished
        assert gates[0].states["b" * 20] is State.ELSEWHERE
        done.add("b" * 20)
        gates[1].finished("b" * 20)
        gates[0].recheck()
        assert gates[0].next() is None
        assert gates[0].states["b" * 20] is State.DONE
    # The first driver is gone, and its phase is taken over.
    with Driver(store.files) as two:
        gates[1].claim = two.claim
        gates[1].recheck()
        assert gates[1].next() == "a" * 20
        done.add("a" * 20)
        gates[1].finished("a" * 20)
        assert gates[1].next() == "c" * 20
        done.add("c" * 20)
        gates[1].finished("c" * 20)
        assert gates[1].is_finished
