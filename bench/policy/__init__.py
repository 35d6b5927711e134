"""What policy costs: packets, round trips and connections with rules and flows, beside others."""
