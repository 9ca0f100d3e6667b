"""``python -m isod.cli.demo``: isod at work on a simulated machine, told for newcomers."""
