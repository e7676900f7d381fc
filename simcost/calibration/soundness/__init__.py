"""Which rows and which tables may speak for a kernel: decided from the tables alone, before anything is predicted from them."""
