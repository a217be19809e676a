"""Delivers what an application has committed: a table, a relay that reads it, and the sinks it publishes to."""
