"""Numerics of every form on hostile data, against loops that share no code with the project."""
