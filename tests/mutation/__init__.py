"""How many of the faults that are planted in recc the fuzzer finds: its mutation score."""
