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


@pytest.mark.parametrize("text", ["gpu", "cuda:", "cuda:x", "cuda:-1", "", "cpu:0", "CPU"])
def test_devices_that_are_none(text):
    with pytest.raises(BenchError, match="must be cpu, cuda, cuda:N or all, got"):
        environment.device_names(text)


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
