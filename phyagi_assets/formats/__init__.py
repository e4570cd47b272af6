"""File formats that one package writes and another reads: token arrays, token rows, cache folders, plans."""
