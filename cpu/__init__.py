"""Networks made fast on a processor: training programs, and G as fp32 and int8 graphs for use."""
