"""The run on a GPU of our own: python -m benchmarks.gpu --out OUT"""
