"""The parts of the workflow of a job: its state, its shards under way, its waves, and what it reports."""
