"""What follows from a log: states, snapshots of them, moments."""
