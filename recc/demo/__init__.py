"""The demonstration: any causal program, from its text to a language model trained on this machine.

`corpus` makes the data, `ngram` the baseline, `layer` puts a compiled program into a torch module, `model` is
the language model, `train` fits it, `agreement` compares the emitted kernel with the reference, `picture` draws
the loss curve, and `story` tells it all in order. None of them is imported by `import recc`.
"""
