"""The store: named objects that outlive workers and histories, and where everything is in it."""
