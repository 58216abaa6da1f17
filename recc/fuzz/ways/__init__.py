"""The ways to run a program: a backend, a form and the size of its chunks."""
