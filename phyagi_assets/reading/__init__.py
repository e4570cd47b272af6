"""Reading token arrays without torch: memory maps, read-ahead, and samples that cross arrays."""
