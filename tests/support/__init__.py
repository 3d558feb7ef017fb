"""What tests share: services and stacks to run against, oracles, strategies and expected rows."""
