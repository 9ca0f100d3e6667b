"""The simulated kernel is held against a real one: the same sequences of operations on both."""
