"""A Kafka and a ClickHouse on this machine, with nothing installed."""
