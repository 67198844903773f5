"""How good a picture is: metrics, pairs of pictures, and pages to look at."""
