"""The activities: every call of a run to the API and the store; those of the document bear its stepIds."""
