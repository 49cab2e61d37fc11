"""What a worker does with the messages of a film's job: plan, segment, join.

Plain functions of messages and ports; the film itself is behind the Protocol of `video.worker.pipeline`, so that
tests of the steps need no film. Imports `models` and `video` only.
"""
