"""`bench report`: result files as one page that opens anywhere and asks nobody for anything."""
