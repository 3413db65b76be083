"""The long faults of the archive, for the night."""
