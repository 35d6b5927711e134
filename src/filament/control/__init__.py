"""The control node role: follows the API, compiles, speaks XMPP to agents, owns the RIB."""
