"""Every setting of fastgw: declared once in model, read once by load, explained by explain."""
