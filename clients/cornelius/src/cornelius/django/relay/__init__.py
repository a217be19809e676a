"""What `manage.py roots_relay` runs. Only this package of Cornelius needs `roots_outbox`."""
