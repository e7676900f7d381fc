"""An answer as one HTML file that stands alone."""
