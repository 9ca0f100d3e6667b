"""The commands of ``isoctl``, a file for each family."""
