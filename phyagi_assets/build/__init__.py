"""What has to be built now: which artifacts are stale, and what a scan of a source finds."""
