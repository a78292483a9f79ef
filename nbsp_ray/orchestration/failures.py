"""Failed attempts as a worker keeps them: what is the same failure again and again is no accident."""

import logging
import re
import socket
import traceback
from typing import Any

from nbsp_ray.errors import ConfigError
from nbsp_ray.store import PhaseFolder

log = logging.getLogger(__name__)
SAME_FAILURES = 3
"""The same traceback at the same env step so many times is no accident."""


def keep_failure(folder: PhaseFolder, error: Exception, env_steps: int) -> bool:
    """Keep the traceback, and say whether the phase has failed like that too often."""
    failure = describe(error) | {"env_steps": env_steps, "host": socket.gethostname()}
    same = SAME_FAILURES if isinstance(error, ConfigError) else 1  # What the settings ask for is not here, ever.
    try:
        same += sum(fingerprint(earlier) == fingerprint(failure) for earlier in folder.failures())
        folder.write_failure(failure | {"final": same >= SAME_FAILURES})
    except Exception:
        log.exception("the failure of phase %s could not be stored", folder.key)
    return same >= SAME_FAILURES


def describe(error: BaseException) -> dict[str, str]:
    """`error` (kind and first line of its text) and `traceback`, for `write_failure`."""
    text = str(error).strip()
    first = text.splitlines()[0] if text else ""
    return {
        "error": f"{type(error).__name__}: {first}" if first else type(error).__name__,
        "traceback": "".join(traceback.format_exception(error)),
    }


def fingerprint(failure: dict[str, Any]) -> tuple[Any, str]:
    """What makes two failures the same: where the phase was, and the traceback without addresses and random names."""
    return failure.get("env_steps"), re.sub(r"0x[0-9a-f]+|[0-9a-f]{8,}", "#", str(failure.get("traceback")))
