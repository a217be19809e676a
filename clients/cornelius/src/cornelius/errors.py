"""What can go wrong for a back end that talks to Roots, and what to do about it."""


class CorneliusError(Exception):
    """Base of this package's errors."""


class RefusedError(CorneliusError):
    """The application does not let this client hear some of the paths; ask for others, or change its policy.

    Shape: paths has the refused ones.
    """

    def __init__(self, paths: list[str]) -> None:
        super().__init__(f"refused: {', '.join(paths)}")
        self.paths = paths


class AnswerError(CorneliusError):
    """Roots answered something that trying again won't change; `status` is the HTTP status, `detail` its reason."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{detail} (HTTP {status})")
        self.status = status
        self.detail = detail


class DeadlineError(CorneliusError):
    """The time that was given is over."""
