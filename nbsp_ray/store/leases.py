"""Who works on a phase, so that several drivers of one results root share the work and do none of it twice.

A driver renews one small file every few seconds, whatever number of phases it has out. A claim on a phase is a file
that is created if there is none, and names the driver; it holds as long as its driver renews. Ages are differences of
times that the storage itself has put down, and never of two machines' clocks. Nothing rests on a claim: if two drivers
do work on a phase, the first commit wins, as ever.
"""

import logging
import os
import socket
import threading
import uuid
from types import TracebackType

from nbsp_ray.errors import StorageAwayError
from nbsp_ray.store.encoding import JsonObject, from_json, to_json
from nbsp_ray.store.files import Files, why

log = logging.getLogger(__name__)
RENEW_SECONDS = 10.0
EXPIRED_SECONDS = 60.0
"""A driver that has not renewed for so long is gone."""


class Driver:
    """One process that hands out phases, as long as its `with` block lasts."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self.id = uuid.uuid4().hex[:12]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="nbsp-lease", daemon=True)
        self._claimed: set[str] = set()

    @property
    def _name(self) -> str:
        return f"drivers/{self.id}.json"

    def __enter__(self) -> "Driver":
        self.renew()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(timeout=2 * RENEW_SECONDS)
        try:
            self._files.remove(self._name)
        except (OSError, StorageAwayError):
            log.debug("the driver's file stays, and expires", exc_info=True)

    def _renew(self) -> None:
        while not self._over.wait(RENEW_SECONDS):
            try:
                self.renew()
            except (OSError, StorageAwayError) as error:
                log.warning("the claims of this driver could not be renewed (%s): others may take them", why(error))

    def renew(self) -> None:
        """All claims hold from now on for a minute."""
        who = {"host": socket.gethostname(), "pid": os.getpid()}
        self._files.write(self._name, to_json({"driver": self.id, **who}), durable=False)

    def claim(self, key: str) -> bool:
        """Whether this driver may hand out a phase; False if a driver that is still there has claimed it."""
        if key in self._claimed:
            return True
        claims = self._files.names(f"phases/{key}/leases")
        number = 1 + max((int(name.removesuffix(".json")) for name in claims if name[:-5].isdigit()), default=-1)
        if number:
            data = self._files.read(f"phases/{key}/leases/{number - 1:06d}.json")
            try:
                holder = str(from_json(data or b"").get("driver"))
            except ValueError:
                holder = ""
            if holder != self.id and self._is_there(holder):
                return False
        # Of several drivers that find the last claim expired, one makes the next one.
        if self._files.create(f"phases/{key}/leases/{number:06d}.json", to_json({"driver": self.id})):
            self._claimed.add(key)
        return key in self._claimed

    def _is_there(self, driver: str) -> bool:
        found = self.holder(driver)
        if found is None:
            return False
        if found.get("host") == socket.gethostname() and not _lives(found.get("pid")):
            return False
        self.renew()
        own, others = self._files.changed(self._name), self._files.changed(f"drivers/{driver}.json")
        return own is not None and others is not None and own - others < EXPIRED_SECONDS

    def holder(self, driver: str) -> JsonObject | None:
        """Host and process of a driver; None if it has left."""
        if not driver.isalnum():
            return None
        data = self._files.read(f"drivers/{driver}.json")
        try:
            return None if data is None else from_json(data)
        except ValueError:
            return None


def _lives(pid: object) -> bool:
    try:
        os.kill(int(str(pid)), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True
