"""The HTTP API: what the pages show, as JSON. `table` has every endpoint; the document of OpenAPI is made of it."""
