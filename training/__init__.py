"""A training run: settings, pictures, stages, log and processes."""
