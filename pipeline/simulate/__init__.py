"""A fleet of simulated devices with real habits and faults. Deterministic by seed; no clock, no network."""

from pipeline.simulate.catalogue import START_MS
from pipeline.simulate.fleet import Sent, fleet, start_for

__all__ = ["START_MS", "Sent", "fleet", "start_for"]
