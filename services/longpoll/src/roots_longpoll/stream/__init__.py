"""What a replica reads from NATS: the event log, grant records, and live messages of both."""
