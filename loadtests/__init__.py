"""Locust scenarios against a gateway, each with thresholds: `python -m loadtests --help`."""
