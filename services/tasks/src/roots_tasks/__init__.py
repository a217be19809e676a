"""The task REST API, its Postgres store, and the relay that publishes its outbox."""
