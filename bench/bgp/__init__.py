"""Reflection of VPN routes beside other BGP speakers."""
