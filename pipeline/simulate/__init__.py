"""A fleet of simulated devices with real habits and faults. Deterministic by seed; no clock, no network."""

from pipeline.simulate.fleet import START_MS, Sent, fleet

__all__ = ["START_MS", "Sent", "fleet"]
