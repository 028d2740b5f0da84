"""Result files over commits and dates: what each case took, when that changed, and what did it."""
