"""Jobs: requests of any number as one, in shards of one batch each, in waves, with one merged file of results."""
