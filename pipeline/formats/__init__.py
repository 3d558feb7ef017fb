"""Bytes to domain and back: one module a format. Refusals are values, never exceptions."""
