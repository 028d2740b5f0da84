"""The machine is described without saying whose it is, and its settings are put back."""

import getpass
import platform
from pathlib import Path

import pytest
import torch

from bench import environment
from bench.errors import BenchError


def test_it_holds_no_host_user_or_path():
    with environment.pinned(1):
        text = environment.describe().model_dump_json()
    assert platform.node() not in text
    assert str(Path.home()) not in text
    assert str(Path(__file__).parents[2]) not in text
    if getpass.getuser() != "root":  # as a word, "root" could stand for anything
        assert getpass.getuser() not in text


def test_it_names_the_versions_that_run():
    with environment.pinned(1):
        found = environment.describe()
    assert found.torch == torch.__version__
    assert found.python == platform.python_version()
    assert found.threads == 1
    assert environment.torch_build() == (torch.__version__, torch.version.cuda)


def test_it_describes_the_machine_as_it_is_now():
    import psutil

    found = environment.describe()
    assert found.cores == psutil.cpu_count()
    assert found.physical_cores == psutil.cpu_count(logical=False)
    assert found.memory_bytes == psutil.virtual_memory().total
    assert found.load_average == pytest.approx(psutil.getloadavg()[0], abs=1.0)
    assert found.interop_threads == torch.get_num_interop_threads()
    assert len(found.gpu) == torch.cuda.device_count()


@pytest.fixture
def cpu0(monkeypatch, tmp_path):
    """The kernel's folder of the first core, empty."""
    monkeypatch.setattr(environment, "_CPU0", tmp_path)
    return tmp_path


def test_caches_are_those_that_hold_data(cpu0):
    caches = [
        ("1", "Data", "32K"), ("1", "Instruction", "64K"), ("2", "Unified", "1024K"),
        ("3", "Unified", "32768K"), ("4", "Unified", ""),
    ]  # fmt: skip
    for index, values in enumerate(caches):
        folder = cpu0 / "cache" / f"index{index}"
        folder.mkdir(parents=True)
        for name, value in zip(("level", "type", "size"), values, strict=True):
            (folder / name).write_text(f"{value}\n")
    assert environment.describe().caches == {"L1d": 32 << 10, "L2": 1 << 20, "L3": 32 << 20}


def test_the_governor_is_the_kernels_one_line(cpu0):
    (cpu0 / "cpufreq").mkdir()
    (cpu0 / "cpufreq" / "scaling_governor").write_text("powersave\n")
    assert environment.describe().governor == "powersave"


def test_what_the_kernel_does_not_tell_is_left_out(cpu0):
    found = environment.describe()
    assert (found.governor, found.caches) == (None, {})


def test_a_result_can_hold_whatever_is_found_here():
    """What is described on this machine passes the checks of a file that is read."""
    from bench.schema import Environment

    found = environment.describe()
    assert Environment.model_validate_json(found.model_dump_json()) == found


def test_precision_and_threads_are_pinned_and_put_back():
    torch.set_num_threads(2)
    rnn = torch.backends.cudnn.rnn
    before = rnn.fp32_precision
    assert before == "tf32"  # PyTorch's default, which is why it must be pinned
    with environment.pinned(1):
        assert torch.get_num_threads() == 1
        assert rnn.fp32_precision == "ieee"
        assert set(environment.describe().precision.values()) == {"ieee"}
    assert torch.get_num_threads() == 2
    assert rnn.fp32_precision == before


def test_what_is_pinned_is_not_changed():
    with environment.pinned(1):
        assert environment.changed(1) is None


def test_a_change_of_threads_is_told():
    with environment.pinned(1):
        torch.set_num_threads(2)
        assert environment.changed(1) == "set the number of threads to 2"
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("flag", ["cuda.matmul", "cudnn.rnn", "mkldnn.matmul", "mkldnn.rnn"])
def test_a_change_of_precision_is_told(flag):
    part, name = flag.split(".")
    with environment.pinned(1):
        getattr(getattr(torch.backends, part), name).fp32_precision = "tf32"
        assert environment.changed(1) == f"set the precision of {flag} to tf32"
    with environment.pinned(1):
        assert environment.changed(1) is None


@pytest.mark.parametrize("text", ["gpu", "cuda:", "cuda:x", "cuda:-1", "", "cpu:0", "CPU"])
def test_devices_that_are_none(text):
    with pytest.raises(BenchError, match="must be cpu, cuda, cuda:N or all, got"):
        environment.device_names(text)


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ("A", "B")), ("0,1", ("A", "B")), ("1", ("B",)), (" 1 , 0 ", ("B", "A")),
        ("", ()), ("-1", ()), ("GPU-1234", ("NVIDIA GPU",)),
    ],
)  # fmt: skip
def test_the_gpus_that_are_left_visible(visible, names, monkeypatch):
    import pynvml

    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 2)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetName", lambda handle: "AB"[handle])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert environment.gpu_names() == names


def test_without_a_driver_there_are_no_gpus(monkeypatch):
    import pynvml

    def no_driver():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", no_driver)
    assert environment.gpu_names() == ()


def test_devices_where_cuda_is(monkeypatch):
    monkeypatch.setattr(environment, "torch_build", lambda: ("2.13.0", "13.0"))
    monkeypatch.setattr(environment, "gpu_names", lambda: ("A", "B"))
    assert environment.device_names("all") == ("cpu", "cuda")
    assert environment.device_names("cuda") == ("cuda",)
    assert environment.device_names("cuda:1") == ("cuda:1",)
    with pytest.raises(BenchError, match="the last GPU here is cuda:1"):
        environment.device_names("cuda:2")
    monkeypatch.setattr(environment, "gpu_names", tuple)
    with pytest.raises(BenchError, match="driver shows no GPU"):
        environment.device_names("cuda")
    assert environment.device_names("all") == ("cpu",)
