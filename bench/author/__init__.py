"""What an implementation's author must know: every promise of the contract, looked at by itself.

The gate (`bench.parity`) stops at the first thing that is wrong; here each check has a name, says
what was wrong and what would be right, and leaves the others alone. A module holds the checks of
one kind of promise; `registry` puts them in their order, after what they need.
"""

from bench.author.registry import CHECKS, look, planned
from bench.author.subject import Subject

__all__ = ["CHECKS", "Subject", "look", "planned"]
