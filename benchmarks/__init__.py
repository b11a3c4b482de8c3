"""What the program costs, beside what it would be compared with, measured in the same run on the same machine."""
