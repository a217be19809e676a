"""The REST API of tasks, and the pages of the tutorial."""
