"""recc beside hand-written libraries on a GPU, in one process: `python -m recc.bench.gpu` writes `docs/benchmarks`.

`shapes` has the sizes and the least traffic, `families` the recurrences, `rivals` the libraries' functions,
`judge` the float64 results, `measure` the clocks, `ahead` compiles the rivals' candidates, `run` is the order
in which things are done within a limit of time, `record` what is written.
"""
