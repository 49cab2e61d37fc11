"""The client's side of the telemetry path: pack and send readings, then follow them to their stored results."""
