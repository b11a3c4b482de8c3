"""A batch's requests: read, checked, and kept as the run's manifest."""
