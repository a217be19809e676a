"""Grant records: who receives which path, since when, and until when."""
