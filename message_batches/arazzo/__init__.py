"""The Arazzo subset that the workflow mirrors: reading a document, and what it says to do after each answer."""
