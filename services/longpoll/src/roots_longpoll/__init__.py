"""Holds polls and delivers events in order, without loss."""
