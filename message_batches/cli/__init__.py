"""The command line: options, commands and their output; `starter.py` calls it, and it calls `message_batches.runs`."""
