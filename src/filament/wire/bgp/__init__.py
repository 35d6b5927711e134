"""BGP-4: messages, attributes, NLRI and the session machine. No I/O, no clock."""
