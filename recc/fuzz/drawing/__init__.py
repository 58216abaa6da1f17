"""Sizes, arguments and initial states of a case: from the domains of a program, and from the edges of these."""
