"""What operators see of a replica: metrics and traces."""
