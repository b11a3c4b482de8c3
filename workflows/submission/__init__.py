"""The submission protocol: one batch is paid for, whatever is lost."""
