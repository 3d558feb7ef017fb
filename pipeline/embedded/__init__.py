"""A Kafka and a ClickHouse on this machine, without installing either."""
