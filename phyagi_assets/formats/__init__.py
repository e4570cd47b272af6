"""Bytes that one side writes and another reads: token arrays, token rows, plans."""
