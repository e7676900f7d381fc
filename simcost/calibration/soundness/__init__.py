"""Which rows and which tables may speak for a kernel: decided from tables and datasheets alone, before anything is predicted from them."""
