"""What is in the tables? Columns and rows, and what is read back from them. Pure."""
