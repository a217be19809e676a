"""The errors of subscriptions; each carries data, and the HTTP layer that catches it chooses the text."""


class SubscriptionsError(Exception):
    """Base of this service's errors."""


class ForeignClientError(SubscriptionsError):
    """The uid is bound to another subject than the request's."""


class RevokedSinceError(SubscriptionsError):
    """A revocation that concerns the grant came after the revision at which it was decided."""


class TooManyClientsError(SubscriptionsError):
    """The subject has `limit` uids already."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} clients")
        self.limit = limit


class TooManyAnonymousError(TooManyClientsError):
    """There are `limit` clients without a subject already."""


class BrokerUnavailableError(SubscriptionsError):
    """NATS can't do what was asked now, `reason` says why; trying again later helps."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BucketFullError(BrokerUnavailableError):
    """The bucket has no room for another record; those that end make some."""


class EpochRefusedError(SubscriptionsError):
    """The log gets no new epoch now; the text says why."""
