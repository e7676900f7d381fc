"""Every split of a cluster, ranked by what is wished for."""
