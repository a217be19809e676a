"""What the services agree on: subjects, records, uids and times."""
