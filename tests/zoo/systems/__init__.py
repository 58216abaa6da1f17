"""The rows, by family: a module holds programs that share oracles or ways to draw arguments."""
