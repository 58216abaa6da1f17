"""Forms: the ways to run a stage, derived from its structure, as Blocks inside known loop shapes."""
