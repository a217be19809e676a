"""NATS: connections, streams, and reads of what is stored."""
