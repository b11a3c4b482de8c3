"""What a run does to the world; each activity of the document bears its stepId."""
