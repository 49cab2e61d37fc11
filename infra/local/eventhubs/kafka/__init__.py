"""The Kafka endpoint: frames in, typed requests to handlers, frames out.

Wire formats come from `kio`; this package holds no byte layout of its own but the frame's length.
"""
