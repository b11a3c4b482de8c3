"""A batch's results: landed, checked, counted, and read again."""
