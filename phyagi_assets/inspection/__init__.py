"""Inspection of a store for people: descriptions, statistics, document search, forecasts, integrity checks and garbage collection."""
