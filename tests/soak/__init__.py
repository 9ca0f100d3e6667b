"""200 clients that borrow, release, die, stall and flood, for as long as one likes."""
