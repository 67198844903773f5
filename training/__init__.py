"""A training run: its settings, pictures, stages, log and processes."""
