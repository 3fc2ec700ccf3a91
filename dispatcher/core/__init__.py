"""Every rule, and nothing else: no I/O, no clock, no event loop."""
