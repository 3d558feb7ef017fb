"""How is the state of a device written? A versioned codec; versions that were ever written are read for ever."""
