"""Tools that read a log without a dispatcher: audit, statistics, timeline, backup and export."""
