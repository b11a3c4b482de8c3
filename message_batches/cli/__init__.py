"""What `starter.py` calls: starting, finding and showing runs, from Temporal and from the store's records."""
