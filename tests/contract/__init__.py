"""One suite for every kernel behind the port: what one inhabitant does, the other does too."""
