"""Work on several machines: a cluster of Dask's, and what must be the same on all of them."""
