"""An outbox in an application's own database: its schema, its relay and its commands."""
