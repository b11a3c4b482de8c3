"""Temporal: connection, development server, search attributes, namespaces, task queues, worker group, rate limit."""
