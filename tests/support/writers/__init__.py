"""What an SDK of each format writes down of a life. They share no code with what reads it."""
