"""JSON-RPC 2.0 packets that carry file descriptors, sans I/O."""
