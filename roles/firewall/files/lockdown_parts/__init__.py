"""The parts of the program `lockdown`."""
