"""Scripts that draw the figures of the documents, and the figures."""
