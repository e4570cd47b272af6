"""Where documents come from: listing a source's files, dividing them into partitions, reading them as batches of Arrow text."""
