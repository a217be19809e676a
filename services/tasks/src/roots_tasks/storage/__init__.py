"""The tasks in Postgres: statements, connections, migrations, and what is pruned."""
