"""What the commands of `calibrate` answer: curves and their errors, rows judged, rows imported, stand-ins tried."""
