"""Files on disk: atomic writing, networks, training states, and the weights that are downloaded."""
