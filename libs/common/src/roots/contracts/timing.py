"""How long a poll may take, for those who hold it, pass it on and wait for it.

The gateway is compared by tests/deploy/test_timing.py, and the clients by the vectors in tests/vectors.
"""

from typing import Final

DEFAULT_HOLD_SECONDS: Final = 25.0
ANSWER_SECONDS: Final = 45.0
"""Without an answer for so long the gateway, Pomona and Cornelius give a poll up."""
MAX_HOLD_SECONDS: Final = 35.0
"""The rest of ANSWER_SECONDS is for what comes after a hold: reads from NATS, a busy replica, the network."""
MAX_RETRY_SECONDS: Final = 300.0
"""Clients wait no longer than this before the next try, whatever an answer asks for."""
