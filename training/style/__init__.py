"""Feed-forward style networks: a picture's strokes for any photo, learnt with perceptual losses and exported to ONNX.

May import torch, onnx, av and `models`. Reads pictures and weights from paths that it is given; never talks to Azure.
"""
