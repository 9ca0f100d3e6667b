"""What isod's calls cost, as a multiple of the least that a packet there and back costs."""
