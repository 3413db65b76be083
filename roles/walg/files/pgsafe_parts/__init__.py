"""The parts of pgsafe; each is imported only by the commands that need it."""
