"""Ray: what work asks of a node, the cluster itself, and a worker on one of its nodes."""
