"""Processes: granian workers, their sockets, draining and reloading. granian's only home."""
