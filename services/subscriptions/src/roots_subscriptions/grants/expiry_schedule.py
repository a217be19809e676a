"""When the paths of clients expire: each client with the second in which the next of its paths does.

Owns no clock and does no I/O; one event loop owns it. Memory is that of the clients that have an end.
"""

from collections.abc import Mapping


class ExpirySchedule:
    """Uids by the second (since 1970) of their next end."""

    def __init__(self) -> None:
        self._seconds: dict[str, int] = {}
        self._uids: dict[int, set[str]] = {}

    def __len__(self) -> int:
        return len(self._seconds)

    def put(self, uid: str, second: int) -> None:
        """Expect the next end of `uid` at `second`, and at no other."""
        self.discard(uid)
        self._seconds[uid] = second
        self._uids.setdefault(second, set()).add(uid)

    def discard(self, uid: str) -> None:
        """Expect no end of `uid`."""
        second = self._seconds.pop(uid, None)
        if second is None:
            return
        self._uids[second].discard(uid)
        if not self._uids[second]:
            del self._uids[second]

    def take(self, now: float, limit: int) -> dict[str, int]:
        """Remove and return up to `limit` uids whose end has come at `now`, with their seconds, the earliest first."""
        taken: dict[str, int] = {}
        for second in sorted(second for second in self._uids if second <= now):
            for uid in list(self._uids[second])[: limit - len(taken)]:
                taken[uid] = second
                self.discard(uid)
            if len(taken) == limit:
                break
        return taken

    def put_back(self, taken: Mapping[str, int]) -> None:
        """Expect again what was taken, but for uids of which something newer has been put meanwhile."""
        for uid, second in taken.items():
            if uid not in self._seconds:
                self.put(uid, second)
