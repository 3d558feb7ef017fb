"""The state of devices and partitions: input in, state and rows out. Pure: time is an argument."""
