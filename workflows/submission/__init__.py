"""The submission protocol: one batch paid for, whatever is lost."""
