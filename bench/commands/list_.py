"""`bench list`: what there is."""

from dataclasses import asdict

from bench import launch
from bench.console import print_json, print_tables
from bench.listing import listing, listing_table
from bench.options import AsJson


def command(as_json: AsJson = False) -> None:
    """The implementations, and whether each can run here."""
    entries = listing(launch.installed_plugins().broken)
    if as_json:
        print_json([asdict(entry) for entry in entries])
    else:
        print_tables([listing_table(entries)])
