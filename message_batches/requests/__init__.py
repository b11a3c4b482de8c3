"""The requests of a batch: read, checked, and stored as the manifest of a run."""
