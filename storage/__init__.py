"""What lies on the disk: files that are whole or absent, networks, states, and weights that are fetched."""
