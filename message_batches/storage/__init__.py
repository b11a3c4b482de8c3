"""The store: named objects that outlive workers and histories, and the path of each."""
