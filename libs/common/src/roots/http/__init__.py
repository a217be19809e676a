"""HTTP servers: Falcon and waitress, bounded and drained."""
