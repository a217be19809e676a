"""What every process has: configuration, logs, health, the end of its life."""
