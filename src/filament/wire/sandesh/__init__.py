"""Sandesh introspect: Tungsten Fabric's self-description of daemons, as XML and HTML texts.

`schema` holds what messages there are, `query` reads a request, `xml` and `page` write answers;
`common`, `routing` and `vrouter` declare the messages by TF's names and field numbers. Pure.
"""
