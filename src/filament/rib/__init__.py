"""Routes: path table, best path, import and export between instances by route target. Pure."""
