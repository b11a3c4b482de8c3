"""A Claude message batch, owned from submission to checked results."""
