"""How far a phase or a trial is, in one list of words: for `status`, reports and frames, and for the gate of `run`."""

from collections.abc import Iterable
from enum import StrEnum


class State(StrEnum):
    """How far a phase is, or a trial, whose state is that of all its phases together.

    Who looks less closely uses the wider words: `begun` where nobody asks whether a process is at work, `running` where
    nobody asks at what.
    """

    meaning: str

    def __new__(cls, word: str, meaning: str) -> "State":
        """A word with its meaning."""
        state = str.__new__(cls, word)
        state._value_ = word
        state.meaning = meaning
        return state

    DONE = "done", "has learnt to its end, and all final evaluations that are wanted are stored"
    RUNNING = "running", "a process works on it: learning or evaluating"
    LEARNING = "learning", "running: takes env steps and updates"
    EVALUATING = "evaluating", "running: has learnt, and plays its final evaluations"
    BEGUN = "begun", "something of it is stored: running or stopped"
    STOPPED = "stopped", "begun, and no process works on it now; `run` goes on with it"
    WAITING = "waiting", "nothing of it is stored yet, or it is to be tried again"
    READY = "ready", "waiting, and all that it needs is done"
    ELSEWHERE = "elsewhere", "another `run` of the same results root works on it"
    DAMAGED = "damaged", "what is stored of it cannot be read; `run` sets it aside and makes it anew"
    FAILED = "failed", "its attempts failed, and it is not tried again before the next `run`"
    BLOCKED = "blocked", "waiting for a phase that failed"


AT_WORK = (State.LEARNING, State.EVALUATING)
STORED = (State.DONE, State.FAILED, State.BEGUN, State.WAITING)
"""What can be told from files alone, in the order of reports."""


def together(states: Iterable[State]) -> State:
    """The state of what has parts, each in one of `STORED`: theirs if all alike, else failed if one is, or begun."""
    found = set(states)
    if len(found) == 1:
        return found.pop()
    return State.FAILED if State.FAILED in found else State.BEGUN
