"""Servers that Roots needs and does not write itself: Postgres, NATS and the gateway."""
