"""The figures of the documents, and the scripts that draw them."""
