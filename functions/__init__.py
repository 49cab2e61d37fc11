"""What the Functions host calls: triggers that decode, call a handler and encode.

Handlers are plain functions of messages and ports; a blueprint (`telemetry.py`) binds them to triggers. The folder
imports `models` only, reads no settings and makes no clients: `infra.wiring.functions` hands them in.
"""
