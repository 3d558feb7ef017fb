"""HTTP in, records of raw topics out: for SDKs that speak no Kafka."""
