"""What every adapter of a port must do; each suite runs on the fake and on the real thing."""
