"""The dashboard: a read-only web application over the stored sessions and events."""
