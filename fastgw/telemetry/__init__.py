"""What happened? Metrics, log lines and spans. Told of each request at its end, asks nobody."""
