"""What does the gateway cost? Ratios against peers in one run, never absolute promises. `python -m bench --help`."""
