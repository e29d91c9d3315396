"""From measurements to a table, JSON, a plot and a line of history. Nothing here is typed by hand."""
