"""Questions: Workload -> Result, one file each."""
