"""Published training steps against what simcost says of them: rows, split, fit, score and report."""
