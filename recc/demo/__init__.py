"""The demonstration: any causal program, from its text to a language model trained on this machine.

`corpus` makes the data, `ngram` the baseline, `layer` puts a compiled program into a torch module, `model` is
the language model, `train` fits it, `picture` draws the loss curve, and `story` tells it all in order; the emitted
kernel is compared with the reference by `recc.fuzz`. None of them is imported by `import recc`.
"""
