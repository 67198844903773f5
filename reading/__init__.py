"""Read picture files of every format."""
