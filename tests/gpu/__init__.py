"""Checks of the kernels on a GPU: `python -m tests.gpu`, from the root of a checkout. pytest does not collect them."""
