"""The API as functions: requests, watch streams, revision waits."""
