"""The commands isod and isoctl."""
