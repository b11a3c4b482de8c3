"""Encryption of what Temporal keeps."""
