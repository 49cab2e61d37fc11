"""Azure Functions entry point."""

from infra.wiring.functions import app

__all__ = ["app"]
