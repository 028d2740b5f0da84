"""Its kernel compiles in the gate and cannot be launched at the timed size, as CUDA tells it."""

from impls.manual_cell import ManualCell


class AcceleratorError(RuntimeError):
    """As torch.AcceleratorError, which has no public constructor."""


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        if len(forced) == 999 and not self.training:
            raise AcceleratorError(
                "CUDA error: too many resources requested for launch\n"
                "Search for `cudaErrorLaunchOutOfResources' in the manual for more information.\n"
                "CUDA kernel errors might be asynchronously reported at some other API call.\n"
            )
        return super().rollout(inputs, forced, h0)
