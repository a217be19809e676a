"""The todo list: its model, its views, its page."""
