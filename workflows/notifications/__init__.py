"""Being told of the events of runs and jobs: which are due, the start of their delivery, and the delivery itself."""
