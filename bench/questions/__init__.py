"""One file per question. The docstring is the method, what the figure means, and what it cannot show."""
