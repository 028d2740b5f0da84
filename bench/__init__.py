"""The harness: checks, trains, evaluates and times the implementations of a generator."""
