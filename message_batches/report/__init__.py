"""The report of a batch as one page: its figures, its charts, the page itself."""
