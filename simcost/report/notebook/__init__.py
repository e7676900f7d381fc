"""A Result as a notebook shows it."""

from simcost.report.notebook.page import as_html as as_html
