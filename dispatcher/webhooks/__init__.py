"""Webhooks: what happens on the farm is posted to web servers that the operator or a client names.

    log ─► collecting ─► outbox (SQLite, beside the log) ─► sending ─► receivers

Laws:
- Whatever was to be sent is sent at least once, however often the dispatcher is killed: what is in
  the outbox, and how far the log was read for it, are one transaction.
- Events of one job, and events of one engine, reach a receiver in their order: the next is not sent
  before the receiver has taken the one before.
- Nothing of it is in the log, and the dispatcher does not wait for it.
"""
