"""Being told of a run's events: webhooks by name, what is sent to them, and how it is delivered."""
