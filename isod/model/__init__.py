"""Facts and words that every part of isod shares: frozen, without I/O, importing nothing else."""
