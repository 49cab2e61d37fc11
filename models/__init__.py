"""The core: contracts of every message and file, ports, errors, window features and ONNX inference on arrays.

Imports nothing of the project and does no I/O; every other package may import it.
"""
