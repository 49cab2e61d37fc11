"""A factorization machine: how likely a user is to like an item.

`columns` says which one-hot columns a user and an item have, `rows` are ratings as tensors, `network` is the machine
in PyTorch, `fit` trains it, `calibration` turns its scores into probabilities, `model` is what comes out and needs no
PyTorch, `export` writes it as ONNX and compares the two, `experiment` measures it on a test part.
"""
