"""Changes its inputs, but only in calls as long as the timed ones: the gate's are short."""

from impls.manual_cell import ManualCell


class Liar(ManualCell):
    def rollout(self, inputs, forced, h0):
        predictions, h_n = super().rollout(inputs, forced, h0)
        if len(forced) >= 500:
            inputs[-1] += 0.01  # a row that a closed loop does not read: the predictions stay right
        return predictions, h_n
