"""TF's XMPP dialect between control nodes and agents (port 5269)."""
