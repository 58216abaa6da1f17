"""The published systems, each against an independent implementation."""
