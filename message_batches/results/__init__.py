"""The results of a batch: downloaded, checked, put in order and published once, then read."""
