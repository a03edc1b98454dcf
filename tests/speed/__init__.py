"""Speed as ratios against plain formulations in the same run; scripts, not tests: `python -m tests.speed.slides`."""
