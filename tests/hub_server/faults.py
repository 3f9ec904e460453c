"""The failure switch: requests that go wrong on purpose."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass


@dataclass
class Fault:
    """What happens to requests of a kind.

    Args:
        method, path: which requests: HTTP method ("" for all), and a regular expression searched in the path.
        status: answer with this HTTP status; None to drop the connection.
        skip: how many of them go through first.
        times: how many of them then fail.
        after: drop the connection after so many bytes of the request's body (of the answer's, for GET).
    """

    method: str = ""
    path: str = ""
    status: int | None = 500
    skip: int = 0
    times: int = 1
    after: int = 0


class Faults:
    """The faults that are switched on, in the order in which they are tried."""

    def __init__(self):
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def next(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets, which is then used up by one."""
        with self._lock:
            for fault in self._faults:
                if (
                    fault.method not in ("", method)
                    or not re.search(fault.path, path)
                    or fault.times <= 0
                ):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                return fault
        return None
