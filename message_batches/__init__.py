"""A Claude message batch, owned from submission to checked results."""

__version__ = "0.1.0"
