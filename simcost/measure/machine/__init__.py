"""The machine that is measured: its device, its clocks, its record."""
