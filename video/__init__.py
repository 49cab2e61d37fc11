"""Films: taken apart into segments, each decoded, stylised and encoded by itself, and joined again.

Works on files alone: no queues, no stores, no settings; whatever it needs comes in as an argument. Only `worker`
knows jobs, through ports. It may import `models` and nothing else of the project. Only workers and commands import
it: it loads FFmpeg.
"""
