"""What rules of privacy do to values of any format: patterns of names, detectors, and the walk through a tree."""
