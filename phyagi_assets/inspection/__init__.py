"""What people look at: descriptions, statistics, documents, forecasts, integrity, and what can be deleted."""
