"""The vocabulary every room shares; imports nothing of ours and does no I/O."""
