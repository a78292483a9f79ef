"""The bytes of what is stored: JSON, with its own digest where a flipped bit must be seen, and arrays."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]
JsonObject = dict[str, Any]
Chunk = bytes | memoryview


def to_json(data: Any) -> bytes:
    """Bytes of JSON; NaN and infinity, which JSON lacks, raise a ValueError."""
    return json.dumps(data, indent=1, allow_nan=False).encode() + b"\n"


def from_json(data: bytes) -> JsonObject:
    """A JSON object.

    Raises:
        ValueError: it is not one.
    """
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found


def digest_of(data: Any) -> str:
    """SHA-256 of the JSON of `data`."""
    return hashlib.sha256(to_json(data)).hexdigest()


def sealed(data: Mapping[str, Any]) -> bytes:
    """JSON with its own digest in it, so that a flipped bit is seen."""
    return to_json({**data, "sha256": digest_of(data)})


def unsealed(data: bytes) -> JsonObject:
    """What `sealed` made JSON of.

    Raises:
        ValueError: it is not that, or is altered.
    """
    found = from_json(data)
    found.pop("sha256", None)
    if sealed(found) != data:
        raise ValueError("its bytes are not those that were written")
    return found


def to_npy(*arrays: Array) -> tuple[Chunk, ...]:
    """Header and body of an `.npy` file with the rows of all `arrays`; the body is the arrays' own memory."""
    header = io.BytesIO()
    parts = [np.ascontiguousarray(array) for array in arrays]
    data = np.lib.format.header_data_from_array_1_0(parts[0])
    data["shape"] = (sum(len(part) for part in parts), *parts[0].shape[1:])
    np.lib.format.write_array_header_1_0(header, data)
    # A memoryview without elements cannot be cast.
    return header.getvalue(), *(part.data.cast("B") for part in parts if part.size)


def to_lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Bytes of JSON lines, one for each row."""
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()
