"""Tools for whoever makes fastgw faster. They measure nothing that is reported."""
