"""The Arazzo subset that the workflow mirrors: reading a document, and deriving the next action from each response."""
