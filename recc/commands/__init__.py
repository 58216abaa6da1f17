"""What the subcommands of the command line do, one module for each group."""
