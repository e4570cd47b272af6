"""What is looked at in every version, before it is published and when it is found for reuse."""
