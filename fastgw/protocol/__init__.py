"""What the RFCs say, as pure functions: no I/O, nothing of fastgw is imported."""
