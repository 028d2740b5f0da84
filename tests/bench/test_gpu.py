"""What is made of a driver's answers, by a driver of the tests' own; and what of its silence."""

import sys
from types import SimpleNamespace

import pytest
import torch

from bench import gpu

CPU, FIRST, SECOND = torch.device("cpu"), torch.device("cuda", 0), torch.device("cuda", 1)
SILENT = [
    "nvmlSystemGetDriverVersion", "nvmlDeviceGetClockInfo", "nvmlDeviceGetMaxClockInfo",
    "nvmlDeviceGetPowerUsage", "nvmlDeviceGetEnforcedPowerLimit",
    "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetTotalEnergyConsumption",
]  # fmt: skip


class Driver:
    """A driver of two GPUs; what is in ``silent`` it does not tell."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM = 1, 2

    class NVMLError(Exception):
        pass

    def __init__(self):
        self.silent, self.asked = set(), []
        self.power = {"GPU-b": 300_500, "GPU-a": 70_000}
        self.reasons = {"GPU-b": 0, "GPU-a": 0}
        self.answers = {
            "nvmlInit": lambda: None,
            "nvmlDeviceGetHandleByUUID": self._known,
            "nvmlSystemGetDriverVersion": lambda: "580.65",
            "nvmlDeviceGetClockInfo": lambda _, kind: {1: 1410, 2: 2619}[kind],
            "nvmlDeviceGetMaxClockInfo": lambda _, kind: {1: 1980, 2: 2619}[kind],
            "nvmlDeviceGetPowerUsage": lambda handle: self.power[handle],
            "nvmlDeviceGetEnforcedPowerLimit": lambda _: 700_000,
            "nvmlDeviceGetCurrentClocksEventReasons": lambda handle: self.reasons[handle],
            "nvmlDeviceGetTotalEnergyConsumption": lambda handle: {"GPU-b": 12_345}[handle],
        }

    def __getattr__(self, name):
        def function(*arguments):
            self.asked.append(name)
            started = self.asked[0] == "nvmlInit" and "nvmlInit" not in self.silent
            if name in self.silent or not started:
                raise self.NVMLError("not supported")
            return self.answers[name](*arguments)

        return function

    def _known(self, uuid):
        if uuid not in self.power:
            raise self.NVMLError("not found")
        return uuid


@pytest.fixture
def driver(monkeypatch):
    """The driver, and a CUDA that names its GPUs with the driver's prefix or without."""
    driver = Driver()
    properties = [
        SimpleNamespace(name="NVIDIA H100", total_memory=85_000_000_000, uuid="b"),
        SimpleNamespace(name="NVIDIA T4", total_memory=16_000_000_000, uuid="GPU-a"),
    ]
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda d: properties[d.index or 0])
    return driver


def test_without_cuda_there_are_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.describe_all() == ()


def test_all_are_described_in_cudas_order_and_in_plain_units(driver):
    first, second = gpu.describe_all()
    assert first.model_dump() == {
        "name": "NVIDIA H100",
        "driver": "580.65",
        "memory_bytes": 85_000_000_000,
        "sm_clock_hertz": 1_410_000_000,
        "max_sm_clock_hertz": 1_980_000_000,
        "memory_clock_hertz": 2_619_000_000,
        "power_watts": 300.5,
        "power_limit_watts": 700.0,
        "throttle_reasons": (),
    }
    assert (second.name, second.power_watts) == ("NVIDIA T4", 70.0)


@pytest.mark.parametrize("question", SILENT)
def test_what_the_driver_does_not_tell_is_none_and_the_rest_is_told(question, driver):
    field = {
        "nvmlSystemGetDriverVersion": ["driver"],
        "nvmlDeviceGetClockInfo": ["sm_clock_hertz", "memory_clock_hertz"],
        "nvmlDeviceGetMaxClockInfo": ["max_sm_clock_hertz"],
        "nvmlDeviceGetPowerUsage": ["power_watts"],
        "nvmlDeviceGetEnforcedPowerLimit": ["power_limit_watts"],
    }.get(question, [])
    driver.silent.add(question)
    described = gpu.describe_all()[0].model_dump()
    assert [name for name, value in described.items() if value is None] == field


@pytest.mark.parametrize("question", ["nvmlInit", "nvmlDeviceGetHandleByUUID"])
def test_a_driver_that_is_not_there_tells_nothing(question, driver):
    driver.silent.add(question)
    found = gpu.describe_all()[0]
    assert (found.name, found.memory_bytes) == ("NVIDIA H100", 85_000_000_000)  # CUDA's own
    assert found.power_watts is None
    assert found.throttle_reasons == ()
    assert gpu.joules(FIRST) is None


def test_a_gpu_that_the_driver_does_not_know_tells_nothing(driver):
    """As a slice of one (MIG), whose UUID is of another kind."""
    driver.power.clear()
    assert gpu.throttle_reasons(FIRST) == ()
    assert gpu.joules(FIRST) is None


def test_energy_is_in_joules(driver):
    assert gpu.joules(FIRST) == pytest.approx(12.345)


def test_a_cpu_has_no_meter_and_no_driver_is_asked(driver):
    assert gpu.joules(CPU) is None
    assert driver.asked == []


def test_an_old_gpu_has_no_meter(driver):
    driver.silent.add("nvmlDeviceGetTotalEnergyConsumption")
    assert gpu.joules(FIRST) is None


@pytest.mark.parametrize(
    ("bits", "names"),
    [
        (0x0, ()),
        (0x1, ()),  # nothing to do
        (0x2, ()),  # its own clock settings
        (0x4, ("sw_power_cap",)),
        (0x8, ("hw_slowdown",)),
        (0x10, ("sync_boost",)),
        (0x20, ("sw_thermal_slowdown",)),
        (0x40, ("hw_thermal_slowdown",)),
        (0x80, ("hw_power_brake_slowdown",)),
        (0x100, ()),  # the display's clock
        (0x24, ("sw_power_cap", "sw_thermal_slowdown")),
    ],
)
def test_only_what_holds_the_clock_back_is_a_reason(bits, names, driver):
    driver.reasons["GPU-a"] = bits
    assert gpu.throttle_reasons(SECOND) == names
    assert gpu.throttle_reasons(FIRST) == ()
    assert gpu.describe_all()[1].throttle_reasons == names


def test_the_bits_are_those_of_nvidias_own_bindings():
    import pynvml

    theirs = {
        "sw_power_cap": pynvml.nvmlClocksEventReasonSwPowerCap,
        "hw_slowdown": pynvml.nvmlClocksThrottleReasonHwSlowdown,
        "sync_boost": pynvml.nvmlClocksEventReasonSyncBoost,
        "sw_thermal_slowdown": pynvml.nvmlClocksEventReasonSwThermalSlowdown,
        "hw_thermal_slowdown": pynvml.nvmlClocksThrottleReasonHwThermalSlowdown,
        "hw_power_brake_slowdown": pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown,
    }
    assert theirs == gpu.THROTTLES
    assert all(hasattr(pynvml, name) for name in [*SILENT, "nvmlDeviceGetHandleByUUID"])


@pytest.mark.gpu
def test_a_real_gpu_is_described():
    found = gpu.describe_all()[0]
    assert found.name == torch.cuda.get_device_name(0)
    assert found.driver
    assert 0 < found.sm_clock_hertz <= found.max_sm_clock_hertz
    before = gpu.joules(FIRST)
    assert before is None or gpu.joules(FIRST) >= before > 0
