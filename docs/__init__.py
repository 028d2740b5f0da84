"""Pages, and the code whose numbers they show; nothing of it is installed."""
