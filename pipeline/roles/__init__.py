"""When to insert, and what an insert allows to be acknowledged. Pure: time is an argument."""
