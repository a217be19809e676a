"""Lets a Python back end publish to Roots, and listen to it."""
