"""Tools of the Model Context Protocol, by which an assistant asks the HTTP API."""
