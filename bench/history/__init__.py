"""Result files over commits and dates: what each case took, when that changed, and what did it."""

# Of implementations, workloads and machines; and of machines that of the newest file.
ALL, NEWEST = "all", "newest"
# What reading and judging takes, and the extra that brings it.
EXTRA, PACKAGES = "history", ("duckdb", "ruptures")
