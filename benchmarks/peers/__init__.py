"""Other ways to window the same log, each a process that prints one JSON line: `benchmarks.peers.outcome.Outcome`."""
