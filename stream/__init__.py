"""The stream processor: a Faust app that windows readings and hands batches to a queue.

May import models only. Never reads settings or makes clients: infra.wiring passes them in.
"""
