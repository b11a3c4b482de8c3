"""The Message Batches API: its requests, its responses, and the keys to call it with."""
