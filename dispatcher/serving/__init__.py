"""One dispatcher at work on one log."""
