"""Decides which client may receive which path."""
