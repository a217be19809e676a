"""A short random session: three browsers, faults, and then all pages are equal to Postgres."""

import pytest
from playwright.async_api import Browser
from tests.testkit.background import LoopThread

from roots_devstack.stack import Stack

from .session import Session

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECONDS = 12
SEED = 1


@pytest.mark.timeout(240)
async def test_pages_are_equal_to_postgres_when_three_people_and_faults_had_their_way(
    browser: Browser, stack: Stack, background: LoopThread
) -> None:
    """I1, I2, I11: no edit is lost, none is made twice, and nobody is shown what is not there."""
    session = Session(stack, background, browser, SEED)
    stored, shown = await session.run(SECONDS)
    assert [] == session.errors
    assert [stored] * len(shown) == shown
    assert stored
