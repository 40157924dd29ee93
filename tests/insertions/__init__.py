"""What the evidence for insertion shares: what must hold of any graph, a campaign of random ones, networks of torch."""
