"""Decisions: pure functions and state, without I/O, clock or randomness."""
