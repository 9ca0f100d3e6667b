"""Tests of packets and JSON-RPC."""
