"""Azure Functions: triggers that decode, call a handler and encode; handlers are plain functions of messages and ports.

May import models only. Never reads settings or makes clients: infra.wiring passes them in.
"""
