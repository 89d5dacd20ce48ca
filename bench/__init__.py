"""Speed, as ratios of one run. Not shipped, not a test."""
