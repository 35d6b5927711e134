"""The command line: a face like any other, through the client."""
