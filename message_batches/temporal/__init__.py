"""Temporal: the connection, a development server, search attributes, worker pools."""
