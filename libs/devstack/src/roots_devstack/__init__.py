"""Starts real Postgres, NATS and Caddy from wheels, then the Roots services, without Docker."""
