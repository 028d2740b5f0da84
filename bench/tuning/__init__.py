"""The search for a recipe: Optuna draws what is tried, a database keeps what was found."""
