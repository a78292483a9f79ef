"""How tables, figures and pages speak of what trials are judged by."""

from collections.abc import Iterable
from dataclasses import dataclass

from nbsp_ray.benchmarks import Score, get_benchmark


@dataclass(frozen=True)
class Words:
    """The words for tasks that are judged alike."""

    performance: str
    """What a trial is judged by."""
    curve: str
    """What goes upwards where a task's training is drawn."""
    task: str
    """What a task is called."""
    suffix: str
    """Of file names."""
    title: str
    """Behind a title."""
    is_rate: bool
    """Whether it lies in [0, 1]."""
    normalised: str = ""
    """What a normalised score is."""


def words_of(benchmarks: Iterable[str]) -> Words:
    """The words for the tasks of these benchmarks, all of which are judged alike; tasks of several are `task`s."""
    found = [get_benchmark(name) for name in dict.fromkeys(benchmarks)]
    nouns = {one.noun for one in found}
    noun = nouns.pop() if len(nouns) == 1 else "task"
    judged_by = [one.judged_by for one in found]
    scored = [one for one in judged_by if isinstance(one, Score)]
    if not scored:
        return Words("success rate", "success rate", noun, "", "", is_rate=True)
    title = f" ({noun}s, by score)"
    return Words("normalised score", "raw score", noun, "_score", title, is_rate=False, normalised=normalised(scored))


def normalised(judged_by: Iterable[Score]) -> str:
    """What a normalised score is, as a sentence."""
    meanings = dict.fromkeys(one.meaning for one in judged_by if one.references)
    scale = ", or ".join(f"{zero} is 0 and {one} is 1" for zero, one in meanings)
    return f"Normalised score: the score on a straight scale on which {scale} (Eq. 8)." if scale else ""
