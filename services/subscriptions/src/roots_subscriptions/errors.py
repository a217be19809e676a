"""What can go wrong in subscriptions; each error carries data, and the edge that meets it chooses the words."""


class SubscriptionsError(Exception):
    """Base of this service's errors."""


class PolicyError(SubscriptionsError):
    """A policy file can't be used: `place` is the table or key, or empty, and `problem` what is wrong there."""

    def __init__(self, problem: str, place: str = "") -> None:
        super().__init__(f"{place}: {problem}" if place else problem)
        self.place = place
        self.problem = problem


class TooManyPathsError(SubscriptionsError):
    """A client would hear more paths than it may: `held` already, `added` with this request."""

    def __init__(self, *, held: int, added: int) -> None:
        super().__init__(f"{held} + {added} paths")
        self.held = held
        self.added = added


class BrokerUnavailableError(SubscriptionsError):
    """NATS can't do what was asked now, `reason` says why; trying again later helps."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
