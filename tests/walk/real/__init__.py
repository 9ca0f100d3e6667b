"""The walks on real kernels, inside the lab's guests."""
