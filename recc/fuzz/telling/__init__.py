"""What was compared and found: reports, coverage, JUnit files, counter-examples on disk."""
