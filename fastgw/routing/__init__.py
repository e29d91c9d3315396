"""Where to? Backends, their health, and the choice between them."""
