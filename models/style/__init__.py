"""Networks that restyle pictures: their manifests, the graphs around them, and the runtimes that run them.

It takes bytes and arrays and gives bytes and arrays; where a network is stored comes in through a port. Imports
models, NumPy and msgspec at load; onnx and the runtimes inside the functions that use them.
"""
