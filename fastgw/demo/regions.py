"""The platform's region codes."""

from typing import Final

REGIONS: Final = {
    "asia-east": "Asia East",
    "asia-south": "Asia South",
    "europe-west": "Europe West",
    "europe-east": "Europe East",
    "america-north": "America North",
    "america-south": "America South",
    "oceania": "Oceania",
}
"""Code to name."""

CODE_PATTERN: Final = r"^[a-z][a-z0-9-]{1,31}$"
"""What a region code looks like; deployments use codes of their own beside these."""
