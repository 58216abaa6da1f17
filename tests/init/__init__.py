"""Initialisers and discretisations against their published definitions."""
