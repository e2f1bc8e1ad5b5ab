"""Tests of the gateway and of the load generator."""
