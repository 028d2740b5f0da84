"""The lecture's questions as studies: a grid of trainings over several seeds, a file, a table."""
