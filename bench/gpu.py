"""What NVIDIA's driver tells of the GPUs; None is what it does not. Torch is imported late."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bench.schema import Gpu

if TYPE_CHECKING:
    import torch

# Reasons that hold a GPU's clock below what its own settings ask for (nvml.h).
THROTTLES = {
    "sw_power_cap": 0x4,
    "hw_slowdown": 0x8,
    "sync_boost": 0x10,
    "sw_thermal_slowdown": 0x20,
    "hw_thermal_slowdown": 0x40,
    "hw_power_brake_slowdown": 0x80,
}


def describe_all() -> tuple[Gpu, ...]:
    """The GPUs in CUDA's order, as they are now."""
    import torch

    if not torch.cuda.is_available():
        return ()
    return tuple(_describe(torch.device("cuda", i)) for i in range(torch.cuda.device_count()))


def joules(device: "torch.device") -> float | None:
    """What the GPU has used since its driver was loaded; None on the CPU, and before Volta."""
    import pynvml

    if device.type != "cuda":
        return None
    millijoules = _ask(pynvml.nvmlDeviceGetTotalEnergyConsumption, _handle(device))
    return None if millijoules is None else float(millijoules) / 1000.0


def throttle_reasons(device: "torch.device") -> tuple[str, ...]:
    """What holds the clock of a GPU back at this moment."""
    import pynvml

    reasons = _ask(pynvml.nvmlDeviceGetCurrentClocksEventReasons, _handle(device)) or 0
    return tuple(name for name, bit in THROTTLES.items() if reasons & bit)


def _describe(device: "torch.device") -> Gpu:
    import pynvml
    import torch

    properties, handle = torch.cuda.get_device_properties(device), _handle(device)
    megahertz, milliwatts = 1_000_000, 1e-3
    return Gpu(
        name=properties.name,
        driver=_ask(pynvml.nvmlSystemGetDriverVersion),
        memory_bytes=properties.total_memory,
        sm_clock_hertz=_asked(
            pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM, unit=megahertz
        ),
        max_sm_clock_hertz=_asked(
            pynvml.nvmlDeviceGetMaxClockInfo, handle, pynvml.NVML_CLOCK_SM, unit=megahertz
        ),
        memory_clock_hertz=_asked(
            pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_MEM, unit=megahertz
        ),
        power_watts=_asked(pynvml.nvmlDeviceGetPowerUsage, handle, unit=milliwatts),
        power_limit_watts=_asked(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle, unit=milliwatts),
        throttle_reasons=throttle_reasons(device),
    )


def _handle(device: "torch.device") -> Any:
    """The driver's handle, found by UUID, for the driver counts in another order than CUDA."""
    import pynvml
    import torch

    _ask(pynvml.nvmlInit)
    uuid = str(torch.cuda.get_device_properties(device).uuid).removeprefix("GPU-")
    return _ask(pynvml.nvmlDeviceGetHandleByUUID, f"GPU-{uuid}")


def _ask(question: Callable[..., Any], *arguments: Any) -> Any:
    import pynvml

    try:
        return None if None in arguments else question(*arguments)
    except pynvml.NVMLError:
        return None


def _asked(question: Callable[..., Any], *arguments: Any, unit: float) -> Any:
    answer = _ask(question, *arguments)
    return None if answer is None else answer * unit
