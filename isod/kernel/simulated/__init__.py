"""A host that lives in a directory, outside the daemon, as a real kernel would."""
