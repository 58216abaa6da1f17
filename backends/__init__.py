"""Backends: what turns forms into running code. See the folder of each."""
