"""What isod predicts of hot resets, held against real kernels."""
