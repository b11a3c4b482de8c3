"""What the store holds of runs long over, and its removal."""
