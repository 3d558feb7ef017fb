"""One module per page: the address in, a filled template out."""
