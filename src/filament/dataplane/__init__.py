"""The kernel, touched: BPF programs, maps, attachment, netlink, and the reconciler."""
