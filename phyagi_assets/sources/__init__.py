"""Sources of documents: list the files of a source, divide them into partitions, and read them as batches of Arrow text."""
