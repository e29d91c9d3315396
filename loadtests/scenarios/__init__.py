"""One file per scenario: users (FastHttpUser) and a THRESHOLDS of what they must see."""
