"""Starts real Postgres, NATS and HAProxy from wheels, then the Roots services, without Docker."""
