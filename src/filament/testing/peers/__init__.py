"""Real BGP speakers of others, in namespaces, behind one set of verbs.

`GoBgp`, `Frr` and `ExaBgp` start a distribution's daemon with a configuration generated from one
`PeerSettings`, and speak of routes as `PeerRoute`, whoever learnt them. `RawSpeaker` says exact
bytes; `Capture` is the neutral witness; `Router` forwards packets for a daemon that cannot.
Nothing here knows Filament's own BGP code: what checks it must not share its mistakes.
"""
