"""What a run shows of itself: the details on its page in the Web UI, and its search attributes."""
