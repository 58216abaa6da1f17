"""What the kernels of this machine cost, as ratios taken in one process: the figures of `docs/performance.md`.

`suite` has the tables, `program` one program's, `timing` the way that contenders are timed in turns.
Nothing here asserts anything about time.
"""
