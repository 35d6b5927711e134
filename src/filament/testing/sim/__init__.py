"""A whole cluster on one thread and a virtual clock: same cores, same bytes, seeded trouble.

What is simulated is only what the real thing does not decide: time, the network between processes,
and when a process dies. API engine, control core, agent core, XMPP sessions and the data plane's
reference interpreter are the production code.
"""
