"""The configuration API under load: see `measure`."""
