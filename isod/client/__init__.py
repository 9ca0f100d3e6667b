"""Clients for Python programs: blocking and trio."""
