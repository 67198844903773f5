"""Enlarge pictures of every kind, and write the results."""
