"""The Django project: settings and URLs."""
