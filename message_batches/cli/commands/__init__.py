"""The commands of the starter, a module each."""
