"""Networks made fast on a CPU: the training programs, and G for use as fp32 and int8 graphs."""
