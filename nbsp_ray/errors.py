"""The errors a user can cause or must know of, as one tree.

    NbspError                 exit code 2; its text is the whole message: what, where, the way out
    +-- ConfigError           a setting, a sweep file or a command line that cannot be right
    +-- StoreError            the results root: unwritable, of another version, damaged
    |   +-- CorruptCheckpointError one checkpoint cannot be read; the one before it is tried
    |   +-- DamagedPhaseError a finished phase is not what was stored; it is set aside and trained anew
    |   +-- StorageAwayError  the storage does not answer; exit code 3, the same command goes on
    +-- ArchiveError          an archive of results that cannot be imported
    +-- PhaseError            a phase cannot go on (a phase that it needs is missing, ...)
    +-- ClusterError          Ray is not there, or cannot ever give what a trial asks for

Everything else that is raised is a bug of ours and keeps its traceback.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class NbspError(Exception):
    """Base of all errors whose text is meant for the user."""


class ConfigError(NbspError):
    """A sweep file, an override or an argument is wrong."""


class StoreError(NbspError):
    """The results root cannot be used as it is."""


class CorruptCheckpointError(StoreError):
    """A checkpoint is truncated or altered; an older one may be whole."""


class DamagedPhaseError(StoreError):
    """Something of a finished phase is missing or altered.

    Args:
        key: Of the phase.
        file: Which file of it.
        why: What is wrong with it.
        record: The final evaluation that it belongs to, if it does to one.
    """

    def __init__(self, key: str, file: str, why: str, record: str | None = None) -> None:
        anew = "trains it anew" if record is None else f"plays its evaluation {record} anew"
        super().__init__(
            f"{file} of the finished phase {key} is damaged ({why}); `nbsp-ray run` sets it aside and {anew}"
        )
        self.key, self.file, self.why, self.record = key, file, why, record

    def __reduce__(self) -> tuple[type, tuple[str, str, str, str | None]]:
        return type(self), (self.key, self.file, self.why, self.record)


class StorageAwayError(StoreError):
    """The storage of the results root has not answered for long."""


class ArchiveError(NbspError):
    """An archive of results is damaged, of another format, or holds what does not belong in one."""


class PhaseError(NbspError):
    """A phase cannot be started or continued."""


class ClusterError(NbspError):
    """Ray cannot be reached, or can never place the trials asked for."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`" (did you mean 'gamma'?)"`, or `""` when nothing known is near `word`."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""
