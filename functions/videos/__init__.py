"""Jobs of films, on the side of the function app: uploads, progress, cancelling, the sweep.

Handlers of `functions.films`, plain functions of messages and ports. Imports `models` and `functions` only, and never
opens a film: that is for the workers in `video`.
"""
