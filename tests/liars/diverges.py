"""Its third training call and all after it give NaN."""

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    calls = 0

    def rollout(self, inputs, forced, h0):
        predictions, h_n = super().rollout(inputs, forced, h0)
        if self.training and inputs.shape[1] == 32:
            self.calls += 1
            if self.calls >= 3:
                predictions = predictions * float("nan")
        return predictions, h_n
