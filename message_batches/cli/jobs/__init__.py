"""Jobs at a terminal and as JSON: how a job stands, how it is followed, its results, its page."""
