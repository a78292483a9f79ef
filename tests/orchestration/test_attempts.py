"""Whether a phase is tried again: what is its own failure, and what its machine's."""

from nbsp_ray.orchestration.attempts import EARLY_FAILURES, Attempts


def test_a_phase_that_gets_further_each_time_is_never_given_up() -> None:
    attempts = Attempts(1, lambda machine: True)
    for number in range(20):
        attempts.advanced("a", 100 * number, "one")
        assert attempts.failed("a", "one")
    assert not attempts.failed("a", "one")


def test_one_that_only_gets_back_to_where_it_was_is() -> None:
    attempts = Attempts(1, lambda machine: True)
    attempts.advanced("a", 100, "one")
    assert attempts.failed("a", "one")
    attempts.advanced("a", 90, "two")
    assert not attempts.failed("a", "two")


def test_failures_on_machines_that_have_gone_do_not_count_even_if_that_is_known_later() -> None:
    good = {"one", "two"}
    attempts = Attempts(1, good.__contains__)
    assert attempts.failed("a", "one")
    good.remove("one")
    assert attempts.counted("a") == 0
    assert attempts.failed("a", "two")
    assert not attempts.failed("a", "two")
    assert attempts.failed("b", None)
    assert not attempts.failed("b", None)


def test_a_machine_is_bad_when_several_phases_in_a_row_get_nowhere_on_it() -> None:
    attempts = Attempts(1, lambda machine: True)
    assert not any(attempts.failed_early("a", "one") for _ in range(10))  # one phase alone may be to blame
    found = [attempts.failed_early(str(number), "one") for number in range(EARLY_FAILURES - 1)]
    assert found == [False] * (EARLY_FAILURES - 2) + [True]
    attempts.advanced("b", 0, "one")
    assert not attempts.failed_early("c", "one")


def test_where_phases_failed_is_known_until_they_get_further() -> None:
    attempts = Attempts(5, lambda machine: True)
    attempts.failed("a", "one")
    attempts.failed("a", "two")
    attempts.failed("b", None)
    attempts.failed("c", "one")
    assert attempts.where() == ["two", "one"]
    attempts.advanced("a", 10, "two")
    assert attempts.where() == ["one"]
