"""Helpers and fixtures that every test folder shares."""
