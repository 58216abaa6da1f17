"""How far apart two right results may be, worked out with the reference."""
