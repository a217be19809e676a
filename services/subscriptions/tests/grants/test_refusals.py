"""What is remembered of refusals."""

from roots.auth.policy import Decision
from roots_subscriptions.grants.refusals import MAX_CLIENTS, MAX_PATHS, Refusals

NO = Decision(is_allowed=False, rule=None, reason="no rule of the app is about this path")


def test_latest_refusals_are_kept_when_there_are_many() -> None:
    """I7: of each client the latest paths, of all the latest clients; who asks again and again fills nothing."""
    refusals = Refusals()
    for number in range(MAX_PATHS + 4):
        refusals.note("loud", "tasks", f"p/{number}", NO)
    refusals.note("loud", "tasks", "p/4", NO)
    kept = [refusal.path for refusal in refusals.of("loud")]
    assert [f"p/{number}" for number in range(5, MAX_PATHS + 4)] + ["p/4"] == kept
    for number in range(MAX_CLIENTS):
        refusals.note(f"uid-{number}", "tasks", "a", NO)
    assert [] == refusals.of("loud")
    assert 1 == len(refusals.of("uid-0"))
