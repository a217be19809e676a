"""Processes: started, supervised, asked and stopped; their ports and programs."""
