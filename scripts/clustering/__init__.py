"""Clusters of NATS on this machine, for tests, tortures, the demo and measurements.

Law: what is started runs in a session of its own, and is ended by its id.
"""
