"""The HTTP API of back ends: publish, grant, revoke, explain."""
