"""The block that is kept between calls: once at a time, never shared, given back."""

import gc
import sys

import pytest
import torch

import impls
from bench.resources import peak_memory_bytes
from impls import GeneratorConfig
from impls.kernels import spare
from impls.kernels.vectors import VECTOR_BYTES
from tests.impls.answers import drawn

LIKE = torch.empty(0)
SIZE = 4 * spare.LARGE // LIKE.itemsize


@pytest.fixture(autouse=True)
def _nothing_kept():
    gc.collect()


def test_the_same_room_serves_the_next_call():
    first = spare.empty((SIZE,), LIKE)
    where = first.data_ptr()
    assert where % VECTOR_BYTES == 0
    view = first[:1]
    del first
    assert spare.empty((SIZE,), LIKE).data_ptr() != where, "a view still needs it"
    del view
    assert spare.empty((SIZE,), LIKE).data_ptr() == where


def test_two_at_once_share_nothing():
    rooms = [spare.empty((SIZE,), LIKE) for _ in range(3)]
    for number, room in enumerate(rooms):
        room.fill_(number)
    assert [room.unique().tolist() for room in rooms] == [[0.0], [1.0], [2.0]]
    rooms.clear()
    assert len(spare._spare) == 1


@pytest.mark.parametrize("size", [SIZE + 1000, SIZE // 2 - 1000])
def test_what_does_not_fit_is_let_go(size):
    spare.empty((SIZE,), LIKE)
    assert spare.empty((size,), LIKE).shape == (size,)
    assert spare._spare[0].nbytes == 4 * size + VECTOR_BYTES


def test_small_room_is_torchs():
    room = spare.empty((3, 4), LIKE.double())
    assert (room.shape, room.dtype) == ((3, 4), torch.float64)
    del room
    assert not spare._spare


def test_a_full_collection_gives_it_back():
    spare.empty((SIZE,), LIKE)
    gc.collect(1)
    assert spare._spare
    gc.collect()
    assert not spare._spare


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_warm_call_shows_its_states_in_the_memory_column():
    model = impls.create("fused_cpu", GeneratorConfig(hidden_size=128))
    inputs, forced = drawn(steps=50, batch=400, size=1)
    states = 4 * 51 * 400 * 128

    def call():
        model(inputs, forced)[0].sum().backward()

    for _ in range(3):
        call()
    assert peak_memory_bytes(call, torch.device("cpu")) >= 0.9 * states
