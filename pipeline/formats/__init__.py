"""What do these bytes say? One sub-package a format. Refusals are values, never exceptions."""
