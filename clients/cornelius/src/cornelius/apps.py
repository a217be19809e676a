"""Lets INSTALLED_APPS name "cornelius", as in 2009; only Django imports this."""

from cornelius.django.apps import CorneliusConfig

__all__ = ["CorneliusConfig"]
