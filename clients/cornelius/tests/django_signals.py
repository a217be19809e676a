"""Undoes what a test has connected to Django's signals."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db.models.signals import class_prepared, m2m_changed, post_delete, post_save, pre_delete

SIGNALS = (class_prepared, m2m_changed, post_delete, post_save, pre_delete)


@contextmanager
def restored_signals() -> Iterator[None]:
    """Give every signal the receivers back that it had before."""
    before = [list(signal.receivers) for signal in SIGNALS]
    yield
    for signal, receivers in zip(SIGNALS, before, strict=True):
        signal.receivers[:] = receivers
        signal.sender_receivers_cache.clear()
