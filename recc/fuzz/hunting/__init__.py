"""Case after case, in processes of their own."""
