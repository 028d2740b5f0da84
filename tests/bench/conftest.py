"""What several of the harness' tests share and is dear to set up."""

import pytest

from tests.bench.clusters import two_nodes


@pytest.fixture(scope="module")
def cluster():
    yield from two_nodes()
