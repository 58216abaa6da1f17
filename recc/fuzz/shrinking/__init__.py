"""Smaller programs, sizes and arguments with which something is still wrong."""
