"""Tests of single parts, without root and without a network."""
