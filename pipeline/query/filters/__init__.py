"""Which sessions? Filters as a tree, as text, as JSON and as SQL."""
