"""What implementations answer, gradients among it, and whether two callers at once change it."""

import threading

import torch


def drawn(steps, batch, size=2, dtype=torch.float32, seed=0):
    """Normal inputs (steps, batch, size), and which steps are forced."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(steps, batch, size, generator=generator, dtype=dtype)
    forced = torch.rand(steps, generator=generator) < 0.5
    forced[0] = True
    return inputs, forced


def gradients(model, inputs, forced):
    """Predictions, h_n and the gradient of every weight."""
    predictions, h_n = model(inputs, forced)
    found = torch.autograd.grad((predictions**2).sum() + h_n.sum(), [*model.weights().values()])
    return predictions, h_n, *found


def assert_two_callers_get_what_each_gets_alone(models, sets, threads, times):
    """Each of two ``models`` with its own of ``sets``, so many ``times`` at once, bit for bit."""
    alone = [gradients(model, *given) for model, given in zip(models, sets, strict=True)]
    found = [[], []]

    def call(which):
        torch.set_num_threads(threads)
        found[which] = [gradients(models[which], *sets[which]) for _ in range(times)]

    callers = [threading.Thread(target=call, args=(which,)) for which in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for which in range(2):
        assert len(found[which]) == times
        for outcome in found[which]:
            assert all(map(torch.equal, outcome, alone[which]))
