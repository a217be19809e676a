"""Bytes of HTTP to requests, and answers to bytes: connections, their limits, and the drain."""
