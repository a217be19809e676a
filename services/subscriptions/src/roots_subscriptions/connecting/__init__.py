"""The HTTP API of browsers: connect and disconnect."""
