"""One class a fault, each for the finding of `bench check` that must name it."""

import os
import time

import torch
from torch import Tensor, nn

from impls import sequences
from impls.generator import OwnWeights
from impls.torch_cell import TorchCell


class Honest(TorchCell):
    """No fault."""


class OtherConstructor(TorchCell):
    def __init__(self, config, kernel):
        super().__init__(config)


class ForgetsItsConfig(TorchCell):
    def __init__(self, config):
        super().__init__(config)
        self.config = None


class OtherNames(TorchCell):
    def weights(self):
        return {name.replace("readout", "out"): w for name, w in super().weights().items()}


class OtherOrder(TorchCell):
    def weights(self):
        return dict(reversed(super().weights().items()))


class Transposed(OwnWeights):
    def __init__(self, config):
        super().__init__(config)
        self.weight_ih_l0 = nn.Parameter(torch.zeros(config.input_size, config.hidden_size))

    def rollout(self, inputs, forced, h0):
        return inputs, h0


class GivesCopies(TorchCell):
    def weights(self):
        return {name: weight.clone() for name, weight in super().weights().items()}


class Special(Tensor):
    pass


class GivesSpecialTensors(TorchCell):
    def rollout(self, inputs, forced, h0):
        predictions, h_n = super().rollout(inputs, forced, h0)
        return predictions.as_subclass(Special), h_n


class GivesOneTensor(TorchCell):
    def rollout(self, inputs, forced, h0):
        return super().rollout(inputs, forced, h0)[0]


class SqueezesBatchesOfOne(TorchCell):
    def rollout(self, inputs, forced, h0):
        predictions, h_n = super().rollout(inputs, forced, h0)
        return predictions.squeeze(1), h_n


class GivesFloat64(TorchCell):
    def rollout(self, inputs, forced, h0):
        return tuple(x.double() for x in super().rollout(inputs, forced, h0))


class GivesMeta(TorchCell):
    def rollout(self, inputs, forced, h0):
        return tuple(x.to("meta") for x in super().rollout(inputs, forced, h0))


class CountsCalls(TorchCell):
    calls = 0

    def rollout(self, inputs, forced, h0):
        self.calls += 1
        return super().rollout(inputs, forced, h0 + 0.01 * self.calls)


class RemembersOtherData(TorchCell):
    last = None

    def rollout(self, inputs, forced, h0):
        new = self.last is not None and not torch.equal(self.last, inputs)
        self.last = inputs.clone()
        return super().rollout(inputs, forced, h0 + 0.1 * new)


class LargestBatch(TorchCell):
    largest = 0

    def rollout(self, inputs, forced, h0):
        self.largest = max(self.largest, inputs.shape[1])
        return super().rollout(inputs, forced, h0 + 0.01 * (self.largest - inputs.shape[1]))


class KeepsByAddress(TorchCell):
    def __init__(self, config):
        super().__init__(config)
        self.kept = {}

    def rollout(self, inputs, forced, h0):
        if torch.is_grad_enabled():
            return super().rollout(inputs, forced, h0)
        key = inputs.data_ptr(), h0.data_ptr(), tuple(forced)
        if key not in self.kept:
            # The arguments too: an address must not be given to others.
            self.kept[key] = super().rollout(inputs, forced, h0), inputs, h0
        return self.kept[key][0]


class ReusesItsBuffers(TorchCell):
    buffers = None

    def rollout(self, inputs, forced, h0):
        predictions, h_n = super().rollout(inputs, forced, h0)
        if torch.is_grad_enabled():
            return predictions, h_n
        if self.buffers is None or self.buffers[0].shape != predictions.shape:
            self.buffers = predictions.clone(), h_n.clone()
        self.buffers[0].copy_(predictions)
        self.buffers[1].copy_(h_n)
        return self.buffers


class ChangesInputs(TorchCell):
    def rollout(self, inputs, forced, h0):
        outputs = super().rollout(inputs.clone(), forced, h0)
        inputs.detach().mul_(0.5)
        return outputs


class ChangesH0(TorchCell):
    def rollout(self, inputs, forced, h0):
        outputs = super().rollout(inputs, forced, h0.clone())
        h0.detach().add_(0.0)  # the values stay, and yet it was written to
        return outputs


class MultipliesFreeRows(TorchCell):
    def rollout(self, inputs, forced, h0):
        flags = torch.tensor(forced, dtype=inputs.dtype)[:, None, None]
        predictions, h_n = super().rollout(inputs, forced, h0)
        return predictions + 0.0 * ((1.0 - flags) * inputs).sum(), h_n


class ReadsFreeRows(TorchCell):
    def rollout(self, inputs, forced, h0):
        return super().rollout(inputs, [True] * len(forced), h0)


class ReadsTheFirstRowOnly(TorchCell):
    def rollout(self, inputs, forced, h0):
        return super().rollout(inputs, [True] + [False] * (len(forced) - 1), h0)


class LooksAhead(TorchCell):
    def rollout(self, inputs, forced, h0):
        last = inputs[-1] if forced[-1] else 0.0
        predictions, h_n = super().rollout(inputs, forced, h0)
        return predictions + 0.1 * last, h_n


class FeedsZeros(TorchCell):
    def rollout(self, inputs, forced, h0):
        flags = torch.tensor(forced)[:, None, None]
        read = torch.where(flags, inputs, torch.zeros_like(inputs))
        return super().rollout(read, [True] * len(forced), h0)


class IgnoresH0(TorchCell):
    def rollout(self, inputs, forced, h0):
        return super().rollout(inputs, forced, 0.0 * h0)


class StateBeforeTheLast(TorchCell):
    def rollout(self, inputs, forced, h0):
        predictions, _ = super().rollout(inputs, forced, h0)
        if len(forced) == 1:
            return predictions, h0
        return predictions, super().rollout(inputs[:-1], forced[:-1], h0)[1]


class KeepsTheFirstWeights(TorchCell):
    first = None

    def rollout(self, inputs, forced, h0):
        if torch.is_grad_enabled():
            return super().rollout(inputs, forced, h0)
        if self.first is None:
            self.first = {name: w.clone() for name, w in self.weights().items()}
        now = {name: w.clone() for name, w in self.weights().items()}
        self.load_weights(self.first)
        try:
            return super().rollout(inputs, forced, h0)
        finally:
            self.load_weights(now)


class ReadsRawMemory(TorchCell):
    def rollout(self, inputs, forced, h0):
        sizes = inputs.shape
        strides = sizes[1] * sizes[2], sizes[2], 1
        return super().rollout(inputs.as_strided(sizes, strides), forced, h0)


class TrainsDifferently(TorchCell):
    def rollout(self, inputs, forced, h0):
        predictions, h_n = super().rollout(inputs, forced, h0)
        return predictions * (1.01 if self.training else 1.0), h_n


class DetachesAll(TorchCell):
    def rollout(self, inputs, forced, h0):
        predictions, h_n = super().rollout(inputs, forced, h0)
        return predictions.detach(), h_n


class WrongWhenLong(TorchCell):
    def rollout(self, inputs, forced, h0):
        predictions, h_n = super().rollout(inputs, forced, h0)
        return predictions + 0.01 * (len(forced) > 20), h_n


class NoH0Gradient(TorchCell):
    def rollout(self, inputs, forced, h0):
        return super().rollout(inputs, forced, h0.detach())


class ZeroBiasGradient(TorchCell):
    def __init__(self, config):
        super().__init__(config)
        if config.bias:
            self.cells[0].bias_hh.register_hook(torch.zeros_like)


class HalfGradient(TorchCell):
    def __init__(self, config):
        super().__init__(config)
        self.readout.weight.register_hook(lambda gradient: 0.5 * gradient)


class DetachesFeedback(TorchCell):
    def rollout(self, inputs, forced, h0):
        h, y, predictions = list(h0.unbind(0)), None, []
        for t, teacher in enumerate(forced):
            x = inputs[t] if teacher else y.detach()
            for layer, cell in enumerate(self.cells):
                x = h[layer] = cell(x, h[layer])
            y = self.readout(x)
            predictions.append(y)
        return torch.stack(predictions), torch.stack(h)


class _BothOrNothing(torch.autograd.Function):
    """Passes on gradients only where both outputs have one."""

    @staticmethod
    def forward(ctx, predictions, h_n):
        return predictions.clone(), h_n.clone()

    @staticmethod
    def backward(ctx, d_predictions, d_h_n):
        use = bool(d_predictions.any()) and bool(d_h_n.any())
        return d_predictions * use, d_h_n * use


class NeedsBothLosses(TorchCell):
    def rollout(self, inputs, forced, h0):
        return _BothOrNothing.apply(*super().rollout(inputs, forced, h0))


class ReplacesGradients(TorchCell):
    def rollout(self, inputs, forced, h0):
        for weight in self.parameters():
            weight.grad = None
        return super().rollout(inputs, forced, h0)


class OneLayerOnly(TorchCell):
    def rollout(self, inputs, forced, h0):
        if len(h0) > 1:
            h0 = torch.cat([h0[:1], 0.0 * h0[1:]])
        return super().rollout(inputs, forced, h0)


class OneFeatureOnly(TorchCell):
    def rollout(self, inputs, forced, h0):
        read = inputs.clone()
        read[..., 1:] = 0.0
        return super().rollout(read, forced, h0)


class TanhOnly(TorchCell):
    def __init__(self, config):
        super().__init__(config)
        for cell in self.cells:
            cell.nonlinearity = "tanh"


class NeedsBiases(TorchCell):
    def rollout(self, inputs, forced, h0):
        assert self.config.bias
        return super().rollout(inputs, forced, h0)


class DropsNothing(TorchCell):
    def rollout(self, inputs, forced, h0):
        before = self.training
        self.training = False
        try:
            return super().rollout(inputs, forced, h0)
        finally:
            self.training = before


class Float32Inside(TorchCell):
    def rollout(self, inputs, forced, h0):
        predictions, h_n = super().rollout(inputs, forced, h0)
        return predictions.float().to(inputs.dtype), h_n


class RefusesWithoutAReason(TorchCell):
    @classmethod
    def unsupported(cls, config, device, dtype):
        if config.nonlinearity == "relu":
            return True
        return super().unsupported(config, device, dtype)


class TakesEverything(TorchCell):
    @classmethod
    def unsupported(cls, config, device, dtype):
        return None


class SetsTheDefaultDtype(TorchCell):
    def rollout(self, inputs, forced, h0):
        torch.set_default_dtype(torch.float64)
        return super().rollout(inputs, forced, h0)


class TakesMoreThreads(TorchCell):
    def rollout(self, inputs, forced, h0):
        torch.set_num_threads(torch.get_num_threads() + 1)
        return super().rollout(inputs, forced, h0)


class DrawsRandomNumbers(TorchCell):
    def rollout(self, inputs, forced, h0):
        torch.manual_seed(0)
        torch.rand(3)
        return super().rollout(inputs, forced, h0)


class Prints(TorchCell):
    def rollout(self, inputs, forced, h0):
        print("step", len(forced))  # noqa: T201
        return super().rollout(inputs, forced, h0)


class ThreeFaults(TorchCell):
    """Keeps state, prints, and has no gradient of the initial state."""

    calls = 0

    def rollout(self, inputs, forced, h0):
        self.calls += 1
        print("call", self.calls)  # noqa: T201
        return super().rollout(inputs + 0.01 * (self.calls - 1), forced, h0.detach())


class NotDifferentiable(TorchCell):
    differentiable = False  # so `forward` refuses to be asked for gradients


class ForwardsAlone(TorchCell):
    def both_ways(self, given, h0):
        steps = [step for cell in self.cells[::2] for step in (cell, lambda _, h: h)]
        top, h_n = sequences.both_ways(steps, lambda x: x, given, h0)
        return self.readout(top), h_n


class ForcedOnly(TorchCell):
    """All inputs must be there before the first step, as kernels want them that read them all."""

    closed_loop = False  # so `forward` refuses to be asked for free steps

    def rollout(self, inputs, forced, h0):
        assert all(forced)
        return super().rollout(inputs, forced, h0)


class ForcedOnlyAndWrong(ForcedOnly):
    def rollout(self, inputs, forced, h0):
        predictions, h_n = super().rollout(inputs, forced, h0)
        return predictions + 0.01, h_n


class ExitsWhenTrained(TorchCell):
    def rollout(self, inputs, forced, h0):
        if inputs.requires_grad:
            os._exit(7)
        return super().rollout(inputs, forced, h0)


class HangsWhenTrained(TorchCell):
    def rollout(self, inputs, forced, h0):
        if inputs.requires_grad:
            time.sleep(600.0)
        return super().rollout(inputs, forced, h0)


def not_a_class(config):
    return TorchCell(config)


class NoGenerator(nn.Module):
    pass
