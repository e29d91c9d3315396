"""Starting and pinning processes, making load, reading /proc, statistics, and what machine this is."""
