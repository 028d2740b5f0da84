"""Sequences of several lengths, packed as ``torch.nn.utils.rnn.PackedSequence`` packs them.

The sequences are sorted by length, the longest first, and their steps lie one after the other: at
step t the first ``batch_sizes[t]`` sequences are still running, and the rows of the others do not
exist. Whatever runs over packed data reads nothing behind an end, and each sequence's last state is
that of its own last step.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from impls import arguments

Rollout = Callable[[Tensor, list[bool], Tensor], tuple[Tensor, Tensor]]
BothWays = Callable[[PackedSequence, Tensor], tuple[Tensor, Tensor]]
Step = Callable[[Tensor, Tensor], Tensor]


def packed(inputs: Tensor, lengths: Tensor | None) -> PackedSequence:
    """Pack (T, B, I), so many steps of each sequence; of all T steps, where ``lengths`` is None.

    Raises:
        ValueError: lengths that are not (B,) whole numbers from 1 to T, on the CPU.
    """
    steps, batch, _ = inputs.shape
    if lengths is None:
        return PackedSequence(inputs.flatten(0, 1), torch.full((steps,), batch))
    arguments.check_lengths(lengths, steps, batch)
    found: PackedSequence = pack_padded_sequence(inputs, lengths, enforce_sorted=False)
    return found


def of_one_length(both_ways: BothWays, inputs: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
    """Predictions (T, B, I) and h_n (2 L, B, H) of a bidirectional model, to inputs (T, B, I)."""
    predictions, h_n = both_ways(packed(inputs, None), h0)
    return predictions.reshape(inputs.shape), h_n


def sorted_states(states: Tensor, order: Tensor | None) -> Tensor:
    """The states (L D, B, H) of the batch in another ``order`` (B,); None leaves it as it is."""
    return states if order is None else states.index_select(1, order)


def in_spans(rollout: Rollout, given: PackedSequence, h0: Tensor) -> tuple[Tensor, Tensor]:
    """All steps by a ``rollout`` of equal lengths: a call wherever the batch becomes smaller.

    Args:
        rollout: a unidirectional generator's.
        given: the inputs.
        h0: (L, B, H), sorted as they are.

    Returns:
        Predictions of all packed rows (N, I), and h_n (L, B, H), each sequence's at its own end.
    """
    h, ended, predictions, start = h0, [], [], 0
    for batch, steps in spans(given.batch_sizes):
        ended.append(h[:, batch:])
        rows = given.data[start : start + steps * batch].reshape(steps, batch, -1)
        y, h = rollout(rows, [True] * steps, h[:, :batch])
        predictions.append(y.flatten(0, 1))
        start += steps * batch
    return torch.cat(predictions), torch.cat([h, *reversed(ended)], 1)


def spans(batch_sizes: Tensor) -> Iterator[tuple[int, int]]:
    """The batch sizes that there are in time, and for how many steps each."""
    return ((batch, len(list(steps))) for batch, steps in groupby(batch_sizes.tolist()))


def both_ways(
    steps: Sequence[Step], drop: Callable[[Tensor], Tensor], given: PackedSequence, h0: Tensor
) -> tuple[Tensor, Tensor]:
    """All bidirectional layers, a step of one direction at a time.

    Args:
        steps: (x, h) -> h of each layer's two directions, forwards first.
        drop: what is done to what a layer gives the next one.
        given: the inputs; at step t of the sequences that still run.
        h0: (2 L, B, H). Backwards, a sequence starts from it at its own last step.

    Returns:
        What the last layer gives for all rows (N, 2 H), and h_n (2 L, B, H).
    """
    sizes, x, last = given.batch_sizes.tolist(), given.data, []
    for first in range(0, len(steps), 2):
        rows = torch.split(drop(x) if first else x, sizes)
        forth, h_forth = _forwards(steps[first], rows, h0[first])
        back, h_back = _backwards(steps[first + 1], rows, h0[first + 1])
        x = torch.cat([forth, back], 1)
        last += [h_forth, h_back]
    return x, torch.stack(last)


def _forwards(step: Step, rows: Sequence[Tensor], h0: Tensor) -> tuple[Tensor, Tensor]:
    """The states of all rows (N, H), and the last ones (B, H); fewer rows, the later the step."""
    h, ended, states = h0, [], []
    for x in rows:
        if len(x) < len(h):
            ended.append(h[len(x) :])
            h = h[: len(x)]
        h = step(x, h)
        states.append(h)
    return torch.cat(states), torch.cat([h, *reversed(ended)])


def _backwards(step: Step, rows: Sequence[Tensor], h0: Tensor) -> tuple[Tensor, Tensor]:
    """The same from the last row to the first; a sequence joins the batch at its last step."""
    h, states = h0[:0], []
    for x in reversed(rows):
        if len(x) > len(h):
            h = torch.cat([h, h0[len(h) : len(x)]])
        h = step(x, h)
        states.append(h)
    return torch.cat(states[::-1]), h
