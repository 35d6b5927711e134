"""The compute host role: ports in, rows out, routes published, applied revisions reported."""
