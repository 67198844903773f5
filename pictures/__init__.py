"""Read, enlarge and write pictures of every kind."""
