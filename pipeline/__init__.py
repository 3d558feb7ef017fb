"""Session pipeline: raw app events from Kafka, folded into user sessions, stored in ClickHouse."""

__version__ = "0.7.0"
