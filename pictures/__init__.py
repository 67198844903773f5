"""Pictures of every kind: read, enlarged and written."""
