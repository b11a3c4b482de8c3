"""The Message Batches API: what is sent, what comes back, and whose key goes with it."""
