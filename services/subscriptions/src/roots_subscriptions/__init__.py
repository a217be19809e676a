"""Decides which uid may hear which path."""
