"""Walks: a real daemon, its real socket, real client processes."""
