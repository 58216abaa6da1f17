"""What has to hold of every way of a program on a case."""
