"""Getting the answer: the request goes to a backend, the response streams back."""
