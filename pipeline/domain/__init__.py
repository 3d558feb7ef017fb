"""What a session is. Pure functions over events; standard library only, no clock, no randomness."""
