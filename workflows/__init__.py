"""The durable run: what waits and decides; what touches the world is in `activities`."""
