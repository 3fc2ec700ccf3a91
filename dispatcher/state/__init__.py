"""What follows from a log: states, snapshots of states, and moments."""
