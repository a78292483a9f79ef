"""A sweep at work, for a terminal."""
