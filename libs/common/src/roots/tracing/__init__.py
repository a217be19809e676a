"""Traces, when they are on."""
