"""The lab: real kernels on virtual hardware, and pytest inside them."""
