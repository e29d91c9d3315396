"""What stands behind the peers: a static answer that is never the bottleneck, and a backend for long bodies."""
