"""Screens: pure functions from replies to text. Nothing here reads a clock, a file or a socket."""
