"""One module a page: the address in, a filled template out."""
