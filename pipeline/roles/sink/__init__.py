"""How do rows get into ClickHouse, each once? The sink role."""
