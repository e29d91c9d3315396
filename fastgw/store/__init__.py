"""Redis and Valkey. In this version: the embedded server, and a ping."""
