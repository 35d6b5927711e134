"""Introspect over HTTP, for every role: `serve` answers requests, `process` the common ones."""
