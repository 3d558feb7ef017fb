"""What do these bytes say? One sub-package per format. Refusals are values, never exceptions."""
