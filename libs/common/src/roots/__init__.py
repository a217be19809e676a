"""What two or more Roots services need; it imports no service, and nothing here connects at import."""
