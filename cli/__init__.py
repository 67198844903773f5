"""Code that all commands share: errors, option types, the progress bar, and the import of Paddle."""
